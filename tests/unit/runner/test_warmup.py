"""Warming up: a steady state is found where there is one, and its absence is told."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pytest

from edgeproof.runner import warmup


class Machine:
    """A clock that only calls move, each by the next duration."""

    def __init__(self, durations_ns: Iterable[int]) -> None:
        self._durations: Iterator[int] = iter(durations_ns)
        self.now = 0

    def call(self) -> None:
        self.now += next(self._durations)

    def until_steady(self, limit_s: float = 1.0) -> warmup.WarmUp:
        return warmup.warm_up(self.call, limit_s, clock=lambda: self.now)


def test_a_machine_that_is_always_the_same_is_steady_after_the_fewest_blocks() -> None:
    found = Machine(itertools.repeat(100_000)).until_steady()
    assert found.steady
    assert found.call_ns == 100_000
    assert found.spread == 0
    assert found.duration_ns == warmup.BLOCKS * warmup.BLOCK_NS
    assert found.calls == found.duration_ns // 100_000


def test_a_slow_beginning_is_waited_out_and_not_part_of_the_figure() -> None:
    slow = itertools.chain(itertools.repeat(200_000, 3000), itertools.repeat(100_000))
    found = Machine(slow).until_steady(limit_s=10)
    # 3000 slow calls look steady too: what is found is the state of the last blocks, whichever it is.
    assert found.steady
    falling = (int(200_000 * 0.999**n) + 50_000 for n in itertools.count())
    found = Machine(falling).until_steady(limit_s=60)
    assert found.steady
    assert found.call_ns < 60_000


def test_a_machine_that_never_settles_is_told_after_the_limit_with_how_far_apart_the_blocks_are() -> None:
    def alternating() -> Iterator[int]:
        while True:
            yield from itertools.repeat(100_000, 200)
            yield from itertools.repeat(130_000, 154)

    found = Machine(alternating()).until_steady(limit_s=1)
    assert not found.steady
    assert found.spread == pytest.approx(0.3, abs=0.05)
    assert 1e9 < found.duration_ns < 1.1e9


def test_single_outliers_do_not_keep_it_waiting() -> None:
    durations = itertools.cycle([100_000] * 49 + [5_000_000])
    assert Machine(durations).until_steady().steady


def test_differences_below_the_clocks_resolution_are_none() -> None:
    durations = itertools.cycle([100] * 200_000 + [400] * 50_000)
    assert Machine(durations).until_steady().steady


def test_a_call_longer_than_a_block_still_makes_blocks_of_several_calls() -> None:
    found = Machine(itertools.repeat(1_000_000_000)).until_steady(limit_s=1)
    assert found.steady
    assert found.calls == warmup.BLOCKS * warmup.BLOCK_CALLS
