"""The farm's live view: what is left is what the slowest device still has to do."""

from __future__ import annotations

import io

import pytest
import rich.console

from edgeproof.farm.live_view import MAX_SHOWN_DEVICES, LiveView


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def view(clock: Clock, jobs: dict[str, str]) -> LiveView:
    return LiveView(jobs, rich.console.Console(file=io.StringIO(), width=200, force_terminal=False), clock)


def shown(of: LiveView) -> str:
    console = rich.console.Console(file=io.StringIO(), width=200)
    console.print(of._table())
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_nobody_knows_how_long_before_a_job_has_ended(clock: Clock) -> None:
    of = view(clock, {"a_1": "a", "a_2": "a"})
    of.start_job("a_1")
    clock.now_s = 30
    assert of.estimate_left() == ""
    assert "0 of 2 jobs done" in shown(of)


def test_what_is_left_is_the_slowest_devices_jobs_at_its_own_pace(clock: Clock) -> None:
    of = view(clock, {"a_1": "a", "a_2": "a", "a_3": "a", "b_1": "b", "b_2": "b", "b_3": "b"})
    of.start_job("a_1")
    of.start_job("b_1")
    clock.now_s = 60
    of.end_job("a_1")
    clock.now_s = 200
    of.end_job("b_1")
    assert of.estimate_left() == f", about {2 * 200 // 60}:{2 * 200 % 60:02} left"
    of.start_job("b_2")
    clock.now_s = 250  # 50 s of it are over
    assert of.estimate_left() == ", about 5:50 left"


def test_a_job_that_takes_longer_than_the_others_did_is_about_to_end(clock: Clock) -> None:
    of = view(clock, {"a_1": "a", "a_2": "a"})
    of.start_job("a_1")
    clock.now_s = 10
    of.end_job("a_1")
    of.start_job("a_2")
    clock.now_s = 1000
    assert of.estimate_left() == ""


def test_jobs_that_were_finished_before_say_nothing_about_the_pace(clock: Clock) -> None:
    of = view(clock, {"a_1": "a", "a_2": "a", "a_3": "a"})
    of.end_job("a_1")
    assert of.estimate_left() == ""
    of.start_job("a_2")
    clock.now_s = 3700
    of.end_job("a_2")
    assert of.estimate_left() == ", about 1:01:40 left"


def test_a_repeated_job_is_timed_from_its_last_start(clock: Clock) -> None:
    of = view(clock, {"a_1": "a", "a_2": "a"})
    of.start_job("a_1")
    clock.now_s = 500
    of.start_job("a_1")
    clock.now_s = 520
    of.end_job("a_1")
    assert of.estimate_left() == ", about 0:20 left"


def test_the_table_says_what_runs_where_and_takes_no_name_for_markup(clock: Clock) -> None:
    of = view(clock, {"[bold]x": "[red]pi", "y": "[red]pi"})
    of.start_job("[bold]x")
    clock.now_s = 75
    text = shown(of)
    assert "[red]pi" in text
    assert "[bold]x" in text
    assert "1:15" in text
    assert "0 of 2" in text


def test_a_thousand_devices_fit_a_screen(clock: Clock) -> None:
    of = view(clock, {f"job{n}": f"device{n:04}" for n in range(1000)})
    for n in range(1000):
        of.start_job(f"job{n}")
    text = shown(of)
    assert len(text.splitlines()) == MAX_SHOWN_DEVICES + 2
    assert f"and {1000 - MAX_SHOWN_DEVICES} more devices; 0 of 1000 jobs done" in text
