"""Tests of the farm's live view. The time left is that of the slowest device."""

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


def make_view(clock: Clock, jobs: dict[str, str]) -> LiveView:
    return LiveView(jobs, rich.console.Console(file=io.StringIO(), width=200, force_terminal=False), clock)


def render(view: LiveView) -> str:
    console = rich.console.Console(file=io.StringIO(), width=200)
    console.print(view._make_table())
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_there_is_no_estimate_before_the_first_job_has_ended(clock: Clock) -> None:
    view = make_view(clock, {"a_1": "a", "a_2": "a"})
    view.start_job("a_1")
    clock.now_s = 30
    assert view.format_time_left() == ""
    assert "0 of 2 jobs done" in render(view)


def test_the_time_left_is_that_of_the_slowest_device_at_its_own_pace(clock: Clock) -> None:
    view = make_view(clock, {"a_1": "a", "a_2": "a", "a_3": "a", "b_1": "b", "b_2": "b", "b_3": "b"})
    view.start_job("a_1")
    view.start_job("b_1")
    clock.now_s = 60
    view.end_job("a_1")
    clock.now_s = 200
    view.end_job("b_1")
    assert view.format_time_left() == f", about {2 * 200 // 60}:{2 * 200 % 60:02} left"
    view.start_job("b_2")
    clock.now_s = 250  # 50 s of b_2 have passed
    assert view.format_time_left() == ", about 5:50 left"


def test_a_last_job_that_exceeds_the_mean_has_no_time_left(clock: Clock) -> None:
    view = make_view(clock, {"a_1": "a", "a_2": "a"})
    view.start_job("a_1")
    clock.now_s = 10
    view.end_job("a_1")
    view.start_job("a_2")
    clock.now_s = 1000
    assert view.format_time_left() == ""


def test_jobs_that_were_finished_before_are_not_timed(clock: Clock) -> None:
    view = make_view(clock, {"a_1": "a", "a_2": "a", "a_3": "a"})
    view.end_job("a_1")
    assert view.format_time_left() == ""
    view.start_job("a_2")
    clock.now_s = 3700
    view.end_job("a_2")
    assert view.format_time_left() == ", about 1:01:40 left"


def test_a_repeated_job_is_timed_from_its_last_start(clock: Clock) -> None:
    view = make_view(clock, {"a_1": "a", "a_2": "a"})
    view.start_job("a_1")
    clock.now_s = 500
    view.start_job("a_1")
    clock.now_s = 520
    view.end_job("a_1")
    assert view.format_time_left() == ", about 0:20 left"


def test_the_table_shows_running_jobs_and_treats_names_as_plain_text(clock: Clock) -> None:
    view = make_view(clock, {"[bold]x": "[red]pi", "y": "[red]pi"})
    view.start_job("[bold]x")
    clock.now_s = 75
    text = render(view)
    assert "[red]pi" in text
    assert "[bold]x" in text
    assert "1:15" in text
    assert "0 of 2" in text


def test_a_thousand_devices_fit_on_a_screen(clock: Clock) -> None:
    view = make_view(clock, {f"job{n}": f"device{n:04}" for n in range(1000)})
    for n in range(1000):
        view.start_job(f"job{n}")
    text = render(view)
    assert len(text.splitlines()) == MAX_SHOWN_DEVICES + 2
    assert f"and {1000 - MAX_SHOWN_DEVICES} more devices; 0 of 1000 jobs done" in text
