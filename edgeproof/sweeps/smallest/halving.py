"""Successive halving with several objectives: how long each rung trains, and which candidates reach the next one.

Jamieson, Talwalkar: "Non-stochastic Best Arm Identification and Hyperparameter Optimization" (2016), with candidates
ranked by non-dominated sorting as in Schmucker et al., "Multi-objective Asynchronous Successive Halving" (2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def plan_epochs(full: int, rungs: int, reduction: int) -> list[int]:
    """Return the epochs of each rung: the full number divided by `reduction` once for each rung that follows."""
    return [max(1, full // reduction ** (rungs - 1 - rung)) if full else 0 for rung in range(rungs)]


def count_survivors(candidates: int, reduction: int) -> int:
    """Return how many candidates reach the next rung: n / reduction, rounded up."""
    return math.ceil(candidates / reduction)


def select(costs: Sequence[tuple[float, float]], count: int) -> list[int]:
    """Return the indices of the `count` best candidates, in their order.

    Candidates of an earlier front are better. In one front, a lower first cost is better, then an earlier candidate.

    Args:
        costs: for each candidate two figures of which less is better: the negated quality, and the size.
    """
    ranked = [index for front in sort_fronts(costs) for index in sorted(front, key=lambda index: (costs[index], index))]
    return sorted(ranked[:count])


def sort_fronts(costs: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Return the indices in fronts: nothing in a front is dominated by another candidate of it or of a later one.

    This is the non-dominated sorting of Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm" (2002).
    """
    left, fronts = list(range(len(costs))), []
    while left:
        front = [index for index in left if not any(_dominates(costs[other], costs[index]) for other in left)]
        fronts.append(front)
        left = [index for index in left if index not in front]
    return fronts


def _dominates(one: tuple[float, float], two: tuple[float, float]) -> bool:
    return one != two and one[0] <= two[0] and one[1] <= two[1]
