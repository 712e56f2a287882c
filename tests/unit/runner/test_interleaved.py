"""Blocks in turns: what the machine does to both sides is no difference between them."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from edgeproof.core.job import MAX_PAIRS
from edgeproof.runner import interleaved

MS = 1_000_000


class Restless:
    """A processor of two speeds, one 1.7 times as slow, in phases of 50 ms to 2 s; a clock that only blocks move."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self.now = self._until = 0
        self._speed = self._draw.choice([1.0, 1.7])

    def block(self, call_ns: float, calls: int = 30) -> Callable[[], int]:
        def run() -> int:
            if self.now >= self._until:
                self._speed = 1.0 if self._speed > 1 else 1.7
                self._until = self.now + self._draw.randrange(50 * MS, 2000 * MS)
            took = int(call_ns * self._speed * self._draw.gauss(1, 0.01))
            self.now += took * calls
            return took

        return run


def ratio(own_ns: float, other_ns: float, seed: int) -> float:
    machine = Restless(seed)
    own, other = interleaved.alternate(
        machine.block(own_ns), machine.block(other_ns), 1000 * MS, seed, clock=lambda: machine.now
    )
    return float(np.median(np.log(own) - np.log(other)))


@pytest.mark.parametrize("slowdown", [0.0, 0.05, -0.05])
def test_each_process_tells_the_ratio_within_a_percent_where_the_machine_changes_by_seventy(slowdown: float) -> None:
    found = [ratio(30_000 * (1 + slowdown), 30_000, seed) for seed in range(20)]
    np.testing.assert_allclose(found, np.log1p(slowdown), atol=0.01)


def test_processes_that_run_one_after_another_differ_there_by_far_more() -> None:
    medians = []
    for seed in range(20):
        block = Restless(seed).block(30_000)
        medians.append(np.median([block() for _ in range(200)]))
    assert np.std(np.log(medians)) > 0.1


def test_either_side_begins_about_half_of_the_pairs_in_an_order_that_the_seed_draws() -> None:
    def order(seed: int) -> str:
        calls: list[str] = []
        sides = [lambda name=name: calls.append(name) or 1 for name in "ab"]
        interleaved.alternate(sides[0], sides[1], 500 * MS, seed, clock=lambda: len(calls) * MS)
        return "".join(calls[::2])

    assert order(0) == order(0) != order(1)
    assert 0.4 < order(0).count("a") / len(order(0)) < 0.6
    assert len(order(0)) == pytest.approx(250, abs=1)


def test_blocks_come_in_pairs_of_which_there_are_never_too_few_or_too_many() -> None:
    for duration_ns, expected in ((0, interleaved.MIN_PAIRS), (10**18, MAX_PAIRS)):
        own, other = interleaved.alternate(lambda: 1, lambda: 2, duration_ns, 0, clock=lambda: 0)
        assert (own, other) == ([1] * expected, [2] * expected)
