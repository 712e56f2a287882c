"""The farm's commands where nothing has run: each says so and what to type, and none ends with 0."""

from __future__ import annotations

import pytest

from edgeproof.cli import main
from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError, EdgeproofError, UnknownNameError
from edgeproof.farm import engines, journal, quarantine
from tests.support.farm_runs import write_params


@pytest.mark.parametrize(
    ("argv", "problem", "cure"),
    [
        (["status"], "there is no run yet", "edgeproof farm run"),
        (["status", "--name", "night"], "there is no run yet", "edgeproof farm run"),
        (["history"], "holds no night", "edgeproof farm run"),
        (["history", "--device", "pi"], "holds no night", "edgeproof farm run"),
        (["regressions"], "holds no night", "edgeproof farm run"),
        (["regressions", "--run", "night"], "holds no night", "edgeproof farm run"),
        (["release", "pi"], "no device is in quarantine here", "edgeproof farm run"),
    ],
)
def test_a_command_in_a_project_without_a_run_says_what_to_type(argv: list[str], problem: str, cure: str) -> None:
    with pytest.raises(EdgeproofError) as refused:
        main.run(["farm", *argv])
    assert problem in str(refused.value)
    assert cure in str(refused.value)


@pytest.fixture
def run_without_records(digits_study: Params) -> str:
    """Start a run that leaves no record."""
    write_params(digits_study, "night")
    journal.Journal(engines.FARM / "night" / engines.JOURNAL).append("started", "board_matrix", "board", 1)
    return "night"


def test_the_history_of_a_run_without_records_names_the_command_that_shows_its_jobs(run_without_records: str) -> None:
    with pytest.raises(EdgeproofError, match=r"no night has a record of a timed run.*edgeproof farm status"):
        main.run(["farm", "history"])
    assert main.run(["farm", "status"]) == 1
    assert main.run(["farm", "regressions"]) == 1


def test_an_unknown_run_or_device_is_answered_with_those_that_exist(run_without_records: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no run 'x'\. Runs: night"):
        main.run(["farm", "status", "--name", "x"])
    with pytest.raises(UnknownNameError, match=r"unknown run 'nite'.*Known: night"):
        main.run(["farm", "regressions", "--run", "nite"])
    quarantine.add("pi", "smoke")
    with pytest.raises(UnknownNameError, match="Known: pi"):
        main.run(["farm", "release", "phone"])


def test_devices_in_quarantine_are_shown_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    quarantine.add("pi", "smoke")
    with pytest.raises(ConfigError, match="there is no run yet"):
        main.run(["farm", "status"])
    assert "run 'edgeproof farm release pi'" in capsys.readouterr().out
