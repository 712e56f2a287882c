"""The weighted mean of updates, summed one at a time in float64, so that memory does not grow with the clients."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeproof.federated.messages import Update
from edgeproof.federated.settings import Weighting
from edgeproof.federated.weights import Layout

Array = np.ndarray[Any, Any]


class UpdateSum:
    """A running sum of updates. The order of `add` decides the last bits, so callers add clients in ascending order."""

    def __init__(self, layout: Layout) -> None:
        self.difference = np.zeros(layout.parameter_count)
        self.statistics = np.zeros(layout.statistic_count)
        self.weight = 0.0
        self.count = 0

    def add(self, update: Update, weighting: Weighting) -> None:
        """Add an update with its weight."""
        weight = float(update.samples) if weighting == "samples" else 1.0
        self.difference += weight * update.difference.astype(np.float64)
        self.statistics += weight * update.statistics.astype(np.float64)
        self.weight += weight
        self.count += 1

    def average_difference(self) -> Array:
        """Return the weighted mean of the differences."""
        return self.difference / self.weight

    def average_statistics(self) -> Array:
        """Return the weighted mean of the statistics."""
        return self.statistics / self.weight
