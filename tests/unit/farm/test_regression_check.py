"""Tests of the check at the end of a farm's run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeproof.cli import main
from edgeproof.config.params import Params
from edgeproof.farm import dispatcher, engines, journal, run_params
from tests.support.farm_nights import write_night
from tests.support.farm_runs import write_params


@pytest.mark.parametrize(("missing", "code"), [(False, 0), (True, 1)])
def test_a_run_ends_with_its_check(
    missing: bool, code: int, digits_study: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_night(1, cells=("m", "n"))

    def farm(*_: Any) -> dict[str, str]:
        write_night(2, cells=("m",) if missing else ("m", "n"))
        return {"board_matrix": "done"}

    monkeypatch.setattr(run_params, "prepare_run", lambda *_: (digits_study, Path("nothing")))
    monkeypatch.setattr(dispatcher, "run_study", farm)
    assert main.run(["farm", "run", "--name", "2026-01-02"]) == code
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].startswith(f"check of 2026-01-02: {'1 missing' if missing else 'nothing to'}")
    assert "not cached: nothing/artifacts" in printed.err


def test_a_run_whose_check_fails_ends_with_1(
    digits_study: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_params, "prepare_run", lambda *_: (digits_study, Path()))
    monkeypatch.setattr(dispatcher, "run_study", lambda *_: {"board_matrix": "done"})
    assert main.run(["farm", "run", "--name", "tonight"]) == 1
    assert "the check of the night failed: results/history holds no night" in capsys.readouterr().err


def test_a_first_night_whose_records_are_all_refused_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    write_night(1, cells=("m", "n"), verdict="invalid")
    assert main.run(["farm", "regressions"]) == 1
    assert "2 of 2 cell(s) refused, see 'edgeproof farm history'" in capsys.readouterr().out


def test_some_refused_cells_are_counted_without_an_alarm(capsys: pytest.CaptureFixture[str]) -> None:
    write_night(1, cells=("m",))
    write_night(1, cells=("n",), verdict="invalid")
    assert main.run(["farm", "regressions"]) == 0
    assert "check of 2026-01-01: 1 of 2 cell(s) refused" in capsys.readouterr().out


def test_a_night_without_any_record_is_reported(digits_study: Params, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(digits_study, "tonight")
    journal.Journal(engines.FARM / "tonight" / engines.JOURNAL).append("started", "board_matrix", "board", 1)
    assert main.run(["farm", "regressions"]) == 1
    assert "check of tonight: no cell has a record" in capsys.readouterr().out
