"""Checks of outputs, targets and evidence that several metrics share. Each failure is a DataError with what fits."""

from __future__ import annotations

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.statistics.metric import CORRECT, Array, Evidence

_KIND_NAMES = {"b": "bool", "iu": "integers", "f": "floats"}


def require_single_output(label: str, outputs: tuple[Array, ...], count: int) -> Array:
    """Return the only output (N, …), which has finite numbers for each of `count` samples. Raises DataError."""
    if len(outputs) != 1:
        raise DataError(f"{label} is computed from one output, and there are {len(outputs)}.")
    output = np.asarray(outputs[0])
    if output.ndim == 0 or len(output) != count or count == 0:
        raise DataError(f"{label} needs a target for each sample, and {count} target(s) came for {output.shape}.")
    if output.dtype.kind not in "fiu":
        raise DataError(f"{label} needs numbers, and the output is {output.dtype}.")
    finite = np.isfinite(output.reshape(count, -1)).all(axis=1)
    if not finite.all():
        raise DataError(f"{label}: {int((~finite).sum())} of {count} outputs hold NaN or infinity.")
    return output


def require_class_scores(label: str, outputs: tuple[Array, ...], targets: Array) -> Array:
    """Return the only output as scores (N, classes). It may have further axes of size one.

    Raises DataError unless `targets` are classes (N,) of it.
    """
    labels = np.asarray(targets)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{label} needs a whole number for each sample, and the targets are {_describe(labels)}.")
    scores = require_single_output(label, outputs, len(labels))
    if scores.ndim < 2 or sum(size > 1 for size in scores.shape[1:]) > 1:
        raise DataError(f"{label} needs an output (N, classes), and it has the shape {scores.shape}.")
    scores = scores.reshape(len(scores), -1)
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise DataError(
            f"{label}: the output has {scores.shape[1]} classes, and the targets go from {labels.min()} to "
            f"{labels.max()}."
        )
    return scores


def get_array(evidence: Evidence, name: str, *, kinds: str, ndim: int = 1) -> Array:
    """Return an array of the evidence.

    Raises DataError if it is missing or empty, has another number of axes or type (numpy's letters, such as "iu"), or
    holds NaN.
    """
    if name not in evidence:
        raise DataError(f"the evidence has no '{name}'. It has: {', '.join(sorted(evidence)) or 'nothing'}.")
    array = evidence[name]
    if array.dtype.kind not in kinds or array.ndim != ndim:
        raise DataError(f"'{name}' in the evidence is {_describe(array)}, expected {_KIND_NAMES[kinds]}, {ndim} axes.")
    if not array.size:
        raise DataError(f"'{name}' in the evidence is empty.")
    if kinds == "f" and not np.isfinite(array).all():
        raise DataError(f"'{name}' in the evidence holds NaN or infinity.")
    return array


def compute_share(evidence: Evidence) -> float:
    """Return the quality of a proportion: the share of units that are right."""
    correct = get_array(evidence, CORRECT, kinds="b")
    return int(correct.sum()) / len(correct)


def _describe(array: Array) -> str:
    return f"{array.dtype} of shape {array.shape}"
