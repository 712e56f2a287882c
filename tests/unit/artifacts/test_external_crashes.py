"""External files whose reader, converter or engine crashes or never ends: a row or a message, and the rest goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import nn

from edgeproof.artifacts import child_process
from edgeproof.bench import external
from edgeproof.core.directories import META, list_files
from edgeproof.core.errors import ConfigError
from tests.support import fragile_runtime
from tests.support.external_project import ROOT, run_bench
from tests.support.fragile_runtime import write_matrix
from tests.support.markdown_tables import read_cells

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("tolerant_limits")]


@pytest.fixture
def project(bench_project: Path) -> Path:
    """Return a project with the runtime 'fragile', which is the working directory."""
    fragile_runtime.write_runtime(bench_project)
    return bench_project


@pytest.fixture
def program(project: Path) -> Path:
    """Return a program of torch.export."""
    torch.export.save(torch.export.export(nn.Linear(8, 3).eval(), (torch.zeros(1, 8),)), project / "m.pt2")
    return project / "m.pt2"


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty directory, in which all temporary files are made."""
    directory = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return directory


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "TIME_LIMIT_S", 6.0)
    monkeypatch.setattr(child_process, "CHECK_INTERVAL_S", 0.1)


def read_table(project: Path, key: str) -> tuple[dict[str, str], str]:
    """Return the verdicts of the table 'mine' by a column, and its text."""
    text = (project / "results/brought/mine/tables/table.md").read_text()
    return {row[key]: row["verdict"] for row in read_cells(text)}, text


def assert_clean(project: Path, scratch: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Check that nothing half-written is left, and that neither a traceback nor a converter's output was printed."""
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert fragile_runtime.NOISE not in printed.out + printed.err
    assert not [path for pattern in ("half", "*.part") for path in project.rglob(pattern)]
    assert list(scratch.iterdir()) == []


def test_files_whose_converter_or_engine_fails_are_rows_with_the_reason_and_the_others_are_measured(
    project: Path, scratch: Path, short_limit: None, capfd: pytest.CaptureFixture[str]
) -> None:
    failures = {
        "crash": "adopt SIGSEGV", "endless": "adopt hang", "engine": "infer SIGABRT", "lacking": "infer refuse",
        "good": "",
    }  # fmt: skip
    paths = [write_matrix(project / f"{name}.matrix", failure) for name, failure in failures.items()]
    assert run_bench(*(path.name for path in paths), "--name", "mine") == 0
    assert_clean(project, scratch, capfd)
    verdicts, text = read_table(project, "model")
    assert verdicts == {**dict.fromkeys(failures, "unsupported"), "good": "valid"}
    assert "the converter for fragile ended with SIGSEGV on this network" in text
    assert "the converter for fragile did not end within 0 minutes on this network" in text
    assert "the first inference in fragile ended with SIGABRT" in text
    assert "the engine has no operator ATAN2" in text


def test_schemes_whose_converter_crashes_or_uses_up_the_memory_are_rows_and_the_others_are_measured(
    program: Path, project: Path, scratch: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_bench(program.name, "--runtimes", "fragile", "--name", "mine") == 0
    assert_clean(project, scratch, capfd)
    verdicts, text = read_table(project, "scheme")
    assert verdicts == {
        "fp32": "valid", "fp16": "unsupported", "int8-dynamic": "unsupported", "int8-static": "valid",
    }  # fmt: skip
    assert "the converter for fragile ended with SIGSEGV on this network" in text
    assert "the converter for fragile ended with SIGKILL, as the system does when memory runs out" in text
    artifacts = project / external.ARTIFACTS_DIR / "mine/fragile/m"
    assert {path.parent.name for path in artifacts.glob(f"*/{META}")} == set(verdicts)
    assert list_files(artifacts / "fp16") == list_files(artifacts / "int8-dynamic") == []


def test_a_benchmark_whose_only_converter_crashes_exits_with_one(project: Path) -> None:
    write_matrix(project / "m.matrix", "adopt SIGBUS")
    assert run_bench("m.matrix", "--name", "mine") == 1
    assert read_table(project, "model")[0] == {"m": "unsupported"}


def test_a_file_that_crashes_its_reader_is_refused_by_one_line_and_nothing_is_written(project: Path) -> None:
    write_matrix(project / "good.matrix")
    write_matrix(project / "m.matrix", "read SIGSEGV")
    argv = [sys.executable, "-m", "edgeproof.cli", "bench", "good.matrix", "m.matrix", "--preset", "quick"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 2
    assert done.stdout == ""
    *progress, message = done.stderr.splitlines()
    assert message == "error: m.matrix can't be read by fragile: the reader ended with SIGSEGV."
    assert [line.split(":")[0].strip() for line in progress] == ["good.matrix → fragile as-is"]
    assert not (project / "results").exists()


def test_a_file_whose_reader_never_ends_is_refused(project: Path, short_limit: None) -> None:
    write_matrix(project / "m.matrix", "read hang")
    with pytest.raises(ConfigError, match=r"m\.matrix can't be read by fragile: the reader did not end within"):
        run_bench("m.matrix")
