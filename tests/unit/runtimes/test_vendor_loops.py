"""The vendors' own loops give the outputs of our Sessions, and a runtime that is not installed is left out."""

from __future__ import annotations

import runpy
import subprocess
import sys
from typing import Any

import pytest

from edgeproof.config import runtime_extras
from tests.support.absent_runtimes import is_absent
from tests.support.project import ROOT

SCRIPT = ROOT / "experiments/compare_with_vendor_tools.py"
WITH_LOOPS = ("onnx", "executorch", "mnn", "ncnn", "tflm")


@pytest.mark.end_to_end
def test_the_vendors_loops_agree_with_our_sessions_and_with_onnx_runtime() -> None:
    installed = [runtime for runtime in WITH_LOOPS if not is_absent(runtime)]
    arguments = ["--untrained", "8,8,8", "--rounds", "0", "--runtimes", ",".join(installed)]
    done = subprocess.run([sys.executable, SCRIPT, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if "outputs differ" in line}
    assert list(lines) == installed
    assert all("vendor's loop" in line and "limit 1e-04" in line for line in lines.values())


def test_a_runtime_that_is_not_installed_is_left_out_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explain(runtime: str, versions: Any) -> str | None:
        return "MNN is not installed. Install the runtime: pip install 'edgeproof[mnn]'" if runtime == "mnn" else None

    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.setattr(runtime_extras, "explain_absence", explain)
    is_installed = runpy.run_path(str(SCRIPT))["_is_installed"]
    assert [runtime for runtime in WITH_LOOPS if is_installed(runtime)] == ["onnx", "executorch", "ncnn", "tflm"]
    printed = capsys.readouterr().out
    assert "mnn        left out: MNN is not installed. Install the runtime: pip install 'edgeproof[mnn]'" in printed
    assert "make runtimes" in printed
