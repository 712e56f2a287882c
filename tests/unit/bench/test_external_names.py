"""Directories of results of external files: an interleaved run never replaces the results of other runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from edgeproof.bench import external, runner_jobs
from edgeproof.core.errors import ConfigError
from edgeproof.report import interleaved
from tests.support.external_files import write_onnx
from tests.support.external_project import run_bench, write_project
from tests.support.verdict_limits import TOLERANT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(external, "measure_files", partial(external.measure_files, limits=TOLERANT))
    monkeypatch.setattr(interleaved, "ROUNDS", 2)
    monkeypatch.setattr(runner_jobs, "INTERLEAVED_DURATION_MS", 20)
    for name in ("one", "two"):
        write_onnx(tmp_path / f"{name}.onnx")
    return write_project(tmp_path)


@pytest.mark.parametrize("option", ["--interleaved", "--in-turns"])
def test_an_interleaved_run_with_a_name_keeps_the_results_that_have_that_name(project: Path, option: str) -> None:
    earlier = project / "results/brought/mine/tables/table.md"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("the table of an earlier run")
    assert run_bench("one.onnx", "two.onnx", option, "--name", "mine") == 0
    assert earlier.read_text() == "the table of an earlier run"
    assert (project / "results/brought/mine_interleaved/tables/interleaved.md").is_file()


def test_a_name_that_is_not_a_directory_name_is_refused_before_anything_is_measured(project: Path) -> None:
    with pytest.raises(ConfigError, match="--name 'My Files' is invalid"):
        run_bench("one.onnx", "two.onnx", "--name", "My Files")
    assert not (project / "results").exists()
