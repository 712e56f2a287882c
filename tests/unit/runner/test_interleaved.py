"""Interleaved blocks: a change of the machine's speed affects both artifacts and not their ratio."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from edgeproof.core.job import MAX_PAIRS
from edgeproof.runner import interleaved

MS = 1_000_000


class UnsteadyMachine:
    """A processor with two speeds that differ by 1.7, in phases of 50 ms to 2 s. Only blocks advance its clock."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self.now = self._until = 0
        self._speed = self._draw.choice([1.0, 1.7])

    def block(self, call_ns: float, calls: int = 30) -> Callable[[], int]:
        def run() -> int:
            if self.now >= self._until:
                self._speed = 1.0 if self._speed > 1 else 1.7
                self._until = self.now + self._draw.randrange(50 * MS, 2000 * MS)
            call_ns_now = int(call_ns * self._speed * self._draw.gauss(1, 0.01))
            self.now += call_ns_now * calls
            return call_ns_now

        return run


def measure_log_ratio(own_ns: float, other_ns: float, seed: int) -> float:
    machine = UnsteadyMachine(seed)
    own, other = interleaved.alternate(
        machine.block(own_ns), machine.block(other_ns), 1000 * MS, seed, clock=lambda: machine.now
    )
    return float(np.median(np.log(own) - np.log(other)))


@pytest.mark.parametrize("slowdown", [0.0, 0.05, -0.05])
def test_the_ratio_is_right_within_a_percent_on_a_machine_whose_speed_changes_by_seventy_percent(
    slowdown: float,
) -> None:
    log_ratios = [measure_log_ratio(30_000 * (1 + slowdown), 30_000, seed) for seed in range(20)]
    np.testing.assert_allclose(log_ratios, np.log1p(slowdown), atol=0.01)


def test_separate_processes_differ_by_far_more_on_that_machine() -> None:
    medians = []
    for seed in range(20):
        block = UnsteadyMachine(seed).block(30_000)
        medians.append(np.median([block() for _ in range(200)]))
    assert np.std(np.log(medians)) > 0.1


def test_each_artifact_begins_about_half_of_the_pairs_in_an_order_drawn_by_the_seed() -> None:
    def order(seed: int) -> str:
        calls: list[str] = []
        sides = [lambda name=name: calls.append(name) or 1 for name in "ab"]
        interleaved.alternate(sides[0], sides[1], 500 * MS, seed, clock=lambda: len(calls) * MS)
        return "".join(calls[::2])

    assert order(0) == order(0) != order(1)
    assert 0.4 < order(0).count("a") / len(order(0)) < 0.6
    assert len(order(0)) == pytest.approx(250, abs=1)


def test_the_number_of_pairs_stays_within_its_limits() -> None:
    for duration_ns, expected in ((0, interleaved.MIN_PAIRS), (10**18, MAX_PAIRS)):
        own, other = interleaved.alternate(lambda: 1, lambda: 2, duration_ns, 0, clock=lambda: 0)
        assert (own, other) == ([1] * expected, [2] * expected)
