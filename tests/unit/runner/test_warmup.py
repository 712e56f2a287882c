"""Warm-up: a steady state is detected, and its absence is reported."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pytest

from edgeproof.runner import warmup


class Machine:
    """A clock that advances only during calls, each time by the next duration."""

    def __init__(self, durations_ns: Iterable[int]) -> None:
        self._durations: Iterator[int] = iter(durations_ns)
        self.now = 0

    def call(self) -> None:
        self.now += next(self._durations)

    def until_steady(self, limit_s: float = 1.0) -> warmup.WarmUp:
        return warmup.warm_up(self.call, limit_s, clock=lambda: self.now)


def test_a_constant_machine_is_steady_after_the_least_number_of_blocks() -> None:
    outcome = Machine(itertools.repeat(100_000)).until_steady()
    assert outcome.steady
    assert outcome.call_ns == 100_000
    assert outcome.spread == 0
    assert outcome.duration_ns == warmup.BLOCKS * warmup.BLOCK_NS
    assert outcome.calls == outcome.duration_ns // 100_000


def test_a_falling_duration_is_waited_for_and_not_part_of_the_median() -> None:
    slow = itertools.chain(itertools.repeat(200_000, 3000), itertools.repeat(100_000))
    outcome = Machine(slow).until_steady(limit_s=10)
    # 3000 slow calls look steady too. The outcome describes the last blocks, whichever they are.
    assert outcome.steady
    falling = (int(200_000 * 0.999**n) + 50_000 for n in itertools.count())
    outcome = Machine(falling).until_steady(limit_s=60)
    assert outcome.steady
    assert outcome.call_ns < 60_000


def test_a_machine_that_never_settles_ends_at_the_limit_with_the_spread_of_its_blocks() -> None:
    def alternating() -> Iterator[int]:
        while True:
            yield from itertools.repeat(100_000, 200)
            yield from itertools.repeat(130_000, 154)

    outcome = Machine(alternating()).until_steady(limit_s=1)
    assert not outcome.steady
    assert outcome.spread == pytest.approx(0.3, abs=0.05)
    assert 1e9 < outcome.duration_ns < 1.1e9


def test_single_outliers_do_not_delay_the_steady_state() -> None:
    durations = itertools.cycle([100_000] * 49 + [5_000_000])
    assert Machine(durations).until_steady().steady


def test_differences_below_the_clocks_resolution_are_ignored() -> None:
    durations = itertools.cycle([100] * 200_000 + [400] * 50_000)
    assert Machine(durations).until_steady().steady


def test_calls_longer_than_a_block_still_make_blocks_of_several_calls() -> None:
    outcome = Machine(itertools.repeat(1_000_000_000)).until_steady(limit_s=1)
    assert outcome.steady
    assert outcome.calls == warmup.BLOCKS * warmup.BLOCK_CALLS
