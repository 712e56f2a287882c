"""MNN's tools are called so that they install nothing, open no connection, and fail with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgeproof.converters import mnn as converter
from edgeproof.converters import vendor_tools
from edgeproof.core.errors import Unsupported
from tests.support.absent_runtimes import is_absent

# Ends the child process when Python code in it starts a program or opens a connection, and when MNN's own modules load.
GUARD = """
import os, sys
def refuse(event, arguments):
    starts = event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork")
    connects = event in ("socket.connect", "socket.getaddrinfo")
    if starts or connects or (event == "import" and str(arguments[0]).startswith(("MNN", "aliyun"))):
        os._exit(77)
sys.addaudithook(refuse)
"""
SAMPLES = (np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32),)


def build_module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()


def test_a_conversion_and_a_quantization_start_no_program_and_open_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_absent("mnn"):
        return
    marker, pip = tmp_path / "pip_ran", tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text(f"#!/bin/sh\ntouch {marker}\n")
    pip.chmod(0o755)
    monkeypatch.setenv("PATH", str(pip.parent), prepend=":")
    monkeypatch.setattr(converter, "CALL", GUARD + converter.CALL)
    converter.write(build_module(), SAMPLES, tmp_path / "a.mnn")
    converter.write_int8_static(build_module(), SAMPLES, tmp_path / "b.mnn")
    assert min((tmp_path / name).stat().st_size for name in ("a.mnn", "b.mnn")) > 100
    assert not marker.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mnn", "b.mnn", "bin"]


@pytest.mark.parametrize(
    "call", ["import os; os.system('true')", "import socket; socket.create_connection(('::1', 9))"]
)
def test_the_guard_of_these_tests_sees_programs_and_connections(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter, "CALL", f"{GUARD}\n{call}\nopen({str(tmp_path / 'x')!r}, 'w').close()")
    with pytest.raises(Unsupported, match="can't take this network"):
        converter._run_tool(["mnnconvert"], tmp_path / "x")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("import os; os.kill(os.getpid(), 11)", "mnnconvert ended with SIGSEGV on this network"),
        ("print('These Op Not Support: Foo')", "can't take this network: These Op Not Support: Foo"),
        ("import time; time.sleep(60)", "mnnconvert did not end within 0 minutes"),
    ],
)
def test_a_tool_that_crashes_hangs_or_writes_nothing_gives_a_reason(
    call: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter, "CALL", call)
    monkeypatch.setattr(vendor_tools, "TIMEOUT_S", 1)
    with pytest.raises(Unsupported, match=reason):
        converter._run_tool(["mnnconvert"], tmp_path / "result.mnn")


def test_a_network_with_inputs_of_integers_is_not_quantized(tmp_path: Path) -> None:
    tokens = (np.zeros((2, 3), np.int64),)
    with pytest.raises(Unsupported, match="inputs of integers"):
        converter.write_int8_static(build_module(), tokens, tmp_path / "a.mnn")
