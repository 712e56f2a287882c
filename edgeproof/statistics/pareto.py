"""Pareto front of estimates: points that do not beat one another beyond the intervals, and that beat all others.

A point is better than another in one objective if the 95% interval of their difference lies on its side of zero. The
interval of a difference of two estimates comes from their own intervals: the distances from the values to the ends are
added in quadrature (Zou and Donner, "Construction of confidence limits about effect measures: a general approach",
Statistics in Medicine 27, 2008). For exact figures any difference counts, so their front is the classical one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy  # its parts take time to load, so they are loaded when they are first used

from edgeproof.statistics.estimates import Array

_ROWS_PER_BLOCK = 256


@dataclass(frozen=True)
class Objective:
    """One figure of all points, as a cost: smaller is better.

    Attributes:
        costs: the value of each point, (N,) float.
        below, above: the distances from the value to the ends of its 95% interval, (N,) float: 0 for an exact figure,
            infinite for an unknown interval.
        paired: for pairs of points (i, j), the 95% interval (low, high) of the cost of i minus that of j, where it was
            measured in pairs. It replaces the interval from `below` and `above`.
    """

    costs: Array
    below: Array
    above: Array
    paired: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)

    def find_better(self) -> Array:
        """Return (N, N) bool: [i, j] is True if point i is better than point j beyond the interval."""
        count = len(self.costs)
        better = np.empty((count, count), bool)
        for start in range(0, count, _ROWS_PER_BLOCK):
            block = slice(start, start + _ROWS_PER_BLOCK)
            margins = np.hypot(self.above[block, None], self.below[None, :])
            better[block] = self.costs[None, :] - self.costs[block, None] > margins
        for (one, other), (low, high) in self.paired.items():
            better[one, other], better[other, one] = high < 0, low > 0
        return better


def find_front(objectives: Sequence[Objective]) -> list[int]:
    """Return the indices of the points that no other point of the front beats, in ascending order.

    A point beats another if it is better in one objective beyond the interval and in none worse beyond it. This
    relation is not transitive, because small differences that no interval shows add up. So a point is left out only if
    a point of the front beats it: the front is the stable set of von Neumann and Morgenstern. Points that beat one
    another in a circle count as equals. The front is never empty.
    """
    is_better = np.logical_or.reduce([objective.find_better() for objective in objectives])
    beats = is_better & ~is_better.T
    front, rest = np.zeros(len(beats), bool), np.ones(len(beats), bool)
    while rest.any():
        unbeaten = rest & ~beats[rest].any(axis=0)
        if not unbeaten.any():
            unbeaten = _find_leading_circles(beats, rest)
        front |= unbeaten
        rest &= ~(unbeaten | beats[unbeaten].any(axis=0))
    return [int(index) for index in np.flatnonzero(front)]


def _find_leading_circles(beats: Array, rest: Array) -> Array:
    """Return the points of `rest` in circles, (N,) bool, that no other point of `rest` beats from outside."""
    places = np.flatnonzero(rest)
    among = beats[np.ix_(places, places)]
    count, circles = scipy.sparse.csgraph.connected_components(among, directed=True, connection="strong")
    one, other = (circles[indices] for indices in np.nonzero(among))
    is_leading = np.ones(count, bool)
    is_leading[other[one != other]] = False
    leading = np.zeros(len(beats), bool)
    leading[places[is_leading[circles]]] = True
    return leading
