"""The order in which a session repeats jobs that ended without a usable figure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from edgeproof.bench import session
from edgeproof.bench.schedule import Job
from edgeproof.bench.session import BenchSession
from edgeproof.config.params import BenchParams
from edgeproof.core.errors import DeviceError
from edgeproof.records.record import Record
from tests.support.bench_project import ITEM

RESULT = {"status": "done"}
DISTURBED = {"verdict": "invalid", "reasons": ["busy"], "disturbed": True, "result": RESULT}
UNREACHABLE = {"verdict": "error", "reasons": ["gone"], "disturbed": True, "unreachable": True}
MISSING_LATENCY = {"verdict": "invalid", "reasons": ["no run was valid"], "disturbed": True}
VALID = {"verdict": "valid", "reasons": [], "result": RESULT}
ROUNDS = [Job("matrix", model, "fp32", "single_stream", process) for process in range(2) for model in ("a", "b")]


class ScriptedSession:
    """A session whose attempts end as scripted, and as valid runs where nothing is scripted."""

    def __init__(
        self,
        outcomes: dict[tuple[Job, int], dict[str, Any]],
        kept: Collection[tuple[Job, int]] = (),
        jobs: Sequence[Job] = ROUNDS,
    ) -> None:
        self._outcomes = outcomes
        self._jobs = jobs
        self._kept = kept
        self.measured: list[tuple[Job, int]] = []
        self.orders: list[int] = []
        self.forgotten: list[Job] = []
        self.may_repeat_runs = True

    def plan(self) -> list[Job]:
        return list(self._jobs)

    def measure(self, job: Job, order: int) -> Record:
        attempt = (Job(job.runtime, job.model, job.scheme, job.scenario, job.process), job.attempt)
        if attempt not in self._kept:
            self.measured.append(attempt)
            self.orders.append(order)
        return Record(self._outcomes.get(attempt, VALID), Path("nowhere"), 2)

    def has_latency(self, job: Job) -> bool:
        return False

    def forget(self, jobs: Iterable[Job]) -> None:
        self.forgotten += jobs


def run(scripted: ScriptedSession) -> Sequence[tuple[Job, int]]:
    session._run_jobs(cast("BenchSession", scripted), BenchParams.model_validate(ITEM))
    return scripted.measured


def test_a_disturbed_run_is_repeated_before_the_next_run_of_its_round() -> None:
    scripted = ScriptedSession({(ROUNDS[0], 0): DISTURBED, (ROUNDS[0], 1): DISTURBED, (ROUNDS[3], 0): DISTURBED})
    assert run(scripted) == [
        *((ROUNDS[0], attempt) for attempt in range(3)),
        (ROUNDS[1], 0),
        (ROUNDS[2], 0),
        *((ROUNDS[3], attempt) for attempt in range(2)),
    ]
    assert scripted.orders == list(range(7))


def test_a_run_that_stays_disturbed_is_repeated_four_times_and_then_given_up() -> None:
    scripted = ScriptedSession({(ROUNDS[1], attempt): DISTURBED for attempt in range(9)})
    assert run(scripted) == [
        (ROUNDS[0], 0),
        *((ROUNDS[1], attempt) for attempt in range(5)),
        (ROUNDS[2], 0),
        (ROUNDS[3], 0),
    ]


@pytest.mark.parametrize("outcome", [UNREACHABLE, MISSING_LATENCY], ids=["the device was gone", "a latency is missing"])
def test_a_job_that_did_not_run_is_repeated_at_the_end(outcome: dict[str, Any]) -> None:
    assert run(ScriptedSession({(ROUNDS[0], 0): outcome})) == [*((job, 0) for job in ROUNDS), (ROUNDS[0], 1)]


def test_a_job_whose_latency_no_waiting_job_can_measure_is_not_repeated() -> None:
    server = Job("matrix", "b", "fp32", "server", 0)
    outcomes = {(server, attempt): MISSING_LATENCY for attempt in range(5)}
    rounds = [(job, 0) for job in ROUNDS]
    assert run(ScriptedSession(outcomes, jobs=[server, *ROUNDS])) == [(server, 0), *rounds, (server, 1)]
    assert run(ScriptedSession(outcomes, jobs=[*ROUNDS, server])) == [*rounds, (server, 0)]


def test_a_disturbed_preprocessing_in_a_profile_is_repeated() -> None:
    profile = Job("matrix", "b", "fp32", "profile", 0)
    disturbed = {"verdict": "valid", "reasons": [], "disturbed": True, "profile": {"operators": []}}
    scripted = ScriptedSession({(profile, 0): disturbed}, jobs=[*ROUNDS, profile])
    assert run(scripted)[-2:] == [(profile, 0), (profile, 1)]


def test_jobs_that_are_unreachable_between_answers_do_not_end_the_session() -> None:
    """A profile answers too, although it has no result."""
    profiles = [Job("matrix", "b", "fp32", "profile", number) for number in range(5)]
    answered = {"verdict": "valid", "reasons": [], "profile": {"operators": []}}
    outcomes = {(job, 0): UNREACHABLE if job.process % 2 == 0 else answered for job in profiles}
    outcomes |= {(job, 1): answered for job in profiles}
    assert len(run(ScriptedSession(outcomes, jobs=profiles))) == 8


def test_a_session_whose_device_is_gone_ends_after_three_jobs_and_forgets_them() -> None:
    scripted = ScriptedSession({(job, 0): UNREACHABLE for job in ROUNDS})
    with pytest.raises(DeviceError, match="device 'desk' can't be reached: gone"):
        run(scripted)
    assert scripted.measured == [(job, 0) for job in ROUNDS[:3]]
    assert scripted.forgotten == ROUNDS[:3]


def test_a_continued_session_measures_the_attempts_that_have_no_record_in_the_same_order() -> None:
    outcomes = {(ROUNDS[0], 0): DISTURBED, (ROUNDS[0], 1): DISTURBED}
    whole = ScriptedSession(outcomes)
    run(whole)
    continued = ScriptedSession(outcomes, kept=whole.measured[:2])
    assert run(continued) == whole.measured[2:]
    assert continued.orders == whole.orders[2:]
