"""Pareto front of two objectives."""

from __future__ import annotations

import math
from collections.abc import Sequence


def find_pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the Pareto-optimal points, in the order of their first coordinate.

    The first coordinate is minimized, the second maximized. Of equal points only the first is returned.
    """
    best, front = -math.inf, []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[index][1] > best:
            best = points[index][1]
            front.append(index)
    return front
