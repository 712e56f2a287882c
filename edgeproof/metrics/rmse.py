"""RMSE: the root of the mean squared error over all values of all samples."""

from __future__ import annotations

import math

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.statistics.evidence import get_array, require_single_output
from edgeproof.statistics.metric import Array, Evidence, Metric

METRIC = Metric(label="RMSE", digits=3, better="less")

SQUARED_ERROR = "squared_error"


def collect(outputs: tuple[Array, ...], targets: Array) -> Evidence:
    """Return the mean squared error of each sample, from one output and targets with the same shape (N, …).

    Raises DataError for anything else.
    """
    values = require_single_output(METRIC.label, outputs, len(targets))
    truth = np.asarray(targets)
    if truth.dtype.kind not in "fiu" or not np.isfinite(truth).all():
        raise DataError(f"{METRIC.label} needs targets that are finite numbers, and they are {truth.dtype}.")
    if values.reshape(len(values), -1).shape != truth.reshape(len(truth), -1).shape:
        raise DataError(
            f"{METRIC.label} compares an output {values.shape} with targets {truth.shape}: both need the same shape."
        )
    errors = values.reshape(len(values), -1).astype(np.float64) - truth.reshape(len(truth), -1)
    return {SQUARED_ERROR: np.square(errors).mean(axis=1)}


def compute(evidence: Evidence) -> float:
    """Return the root of the mean."""
    errors = get_array(evidence, SQUARED_ERROR, kinds="f")
    if errors.min() < 0:
        raise DataError(f"{METRIC.label} needs squared errors, and the evidence has negative ones.")
    return math.sqrt(errors.mean())
