"""Run a study from Python. DVC itself is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgeproof
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.report import tables
from edgeproof.study import repro, worktrees
from tests.support.example_rows import several


@pytest.fixture
def runs(api_project: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the directories in which DVC ran. It wrote a table of six rows there."""
    places: list[Path] = []

    def run(directory: Path, stages: list[str]) -> int:
        places.append(directory)
        tables.write_tables(directory / "results/tables", several(), study="digits", baseline="teacher")
        return 0

    monkeypatch.setattr(repro, "run_dvc_repro", run)
    monkeypatch.setattr(worktrees, "refresh", lambda directory: directory.mkdir(parents=True, exist_ok=True))
    return places


def test_a_study_has_checked_params_with_its_overrides(api_project: Path) -> None:
    study = edgeproof.Study("digits", "preset=standard")
    assert (study.name, repr(study)) == ("digits", "Study('digits', 'preset=standard')")
    assert {item.preset for item in study.params.bench.values()} == {"standard"}


def test_a_study_that_does_not_exist_or_fit_is_refused_at_once(api_project: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown study 'digit'\. Did you mean 'digits'"):
        edgeproof.Study("digit")
    with pytest.raises(ConfigError, match="preset"):
        edgeproof.Study("digits", "preset=fast")


def test_a_run_returns_the_table_and_prints_no_table(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    study = edgeproof.Study("digits")
    with pytest.raises(EdgeproofError, match=r"has no table yet. Run it first: run\(\)"):
        study.table()
    table = study.run()
    assert len(table) == 6
    assert "|" not in capsys.readouterr().out
    assert table.directory == Path("results/studies/digits/tables")
    assert table.records == runs[0] / "results/records"
    assert [row.key for row in study.table().rows] == [row.key for row in table.rows]


def test_a_table_of_other_overrides_is_not_returned(runs: list[Path]) -> None:
    edgeproof.Study("digits").run()
    with pytest.raises(EdgeproofError, match="was made with other parameters"):
        edgeproof.Study("digits", "preset=standard").table()


def test_the_committed_study_runs_in_place(runs: list[Path]) -> None:
    table = edgeproof.Study().run()
    assert (runs, table.directory) == ([Path()], Path("results/tables"))
    assert table.records == Path("results/records")


def test_a_failed_stage_is_an_error_that_says_how_to_continue(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repro, "run_dvc_repro", lambda *_: 255)
    with pytest.raises(EdgeproofError, match=r"ended with code 255.*run\(\) continues"):
        edgeproof.Study("digits").run()
