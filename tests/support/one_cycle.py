"""The one-cycle schedule of the learning rate, by its formula."""

from __future__ import annotations

import math


def one_cycle(peak: float, steps: int) -> list[float]:
    """Return the one-cycle schedule: from peak/25 up to the peak in a fifth of the steps, then down to peak/250000."""
    peak_step = 0.2 * steps - 1
    low, end = peak / 25, peak / 25 / 1e4

    def between(a: float, b: float, share: float) -> float:
        return b + (a - b) * (1 + math.cos(math.pi * share)) / 2

    return [
        between(low, peak, t / peak_step)
        if t <= peak_step
        else between(peak, end, (t - peak_step) / (steps - 1 - peak_step))
        for t in range(steps)
    ]
