"""Targets of a user's own data: class numbers for a classification, values for a regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeproof.core.errors import DataError
from edgeproof.core.ports import Port

CLASS_METRICS = ("accuracy", "auc", "macro_f1", "partial_auc", "top5_accuracy")
VALUE_METRICS = ("rmse",)
# Integers with fewer samples for each value than this are numbers to predict rather than classes.
_MIN_SAMPLES_PER_CLASS = 3
_SHOWN_NAMES = 5

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Targets:
    """Encoded targets: class numbers (N,) for each part with the names of the classes, or values (N, count)."""

    parts: Mapping[str, Array]
    classes: tuple[str, ...]

    @property
    def output(self) -> Port:
        """The output of a network: class scores or values."""
        if self.classes:
            return Port("logits", (len(self.classes),))
        return Port("values", (next(iter(self.parts.values())).shape[1],))

    def name_classes(self) -> dict[str, list[str]]:
        """Return the name of each sample's class, or '' for each sample of a regression."""
        if not self.classes:
            return {part: [""] * len(values) for part, values in self.parts.items()}
        return {part: [self.classes[number] for number in values] for part, values in self.parts.items()}


def guess_metric(dtype: np.dtype[Any]) -> str:
    """Return the metric for targets of a type: floats are values to predict, all others are classes."""
    return "rmse" if dtype.kind == "f" else "accuracy"


def encode_targets(
    parts: Mapping[str, Array], metric: str, where: str, cure: str, *, is_guessed: bool = False
) -> Targets:
    """Encode the targets of 'all', or of 'train', 'test' and perhaps 'validation'.

    Args:
        parts: integers, texts or floats (N,), or floats (N, count).
        metric: decides whether the targets are classes or values. For a metric of the user's own, floats are values.
        where: names the targets in messages, such as "y in data.npz".
        cure: the sentence that says where to set the metric.
        is_guessed: the user named no metric.

    Raises DataError for missing values, for one class only, and for a class that no training sample has.
    """
    for part, values in parts.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DataError(f"{where} ({part}) holds NaN or infinity in row {_find_bad_row(values)}. Remove such rows.")
    kinds = {values.dtype.kind for values in parts.values()}
    is_regression = metric in VALUE_METRICS or (metric not in CLASS_METRICS and kinds == {"f"})
    if is_regression:
        return Targets({part: _encode_values(values, where) for part, values in parts.items()}, ())
    return _encode_classes(parts, where, cure, is_guessed=is_guessed)


def _encode_values(values: Array, where: str) -> Array:
    if values.dtype.kind not in "fiub":
        raise DataError(f"{where} holds {values.dtype}, and rmse needs numbers. Name another metric or target.")
    return values.reshape(len(values), -1).astype(np.float32)


def _encode_classes(parts: Mapping[str, Array], where: str, cure: str, *, is_guessed: bool) -> Targets:
    checked = {part: _check_labels(values, where, cure) for part, values in parts.items()}
    trained = checked["train"] if "train" in checked else checked["all"]
    names = np.unique(trained)
    for part, values in checked.items():
        if others := sorted(set(values.tolist()) - set(names.tolist())):
            shown = ", ".join(map(str, others[:_SHOWN_NAMES]))
            raise DataError(f"{where} ({part}) has classes that no training sample has: {shown}. Add such samples.")
    if len(names) < 2:
        raise DataError(f"{where} has one class only ({names[0]}), and a classification needs two. Check the target.")
    if is_guessed and names.dtype.kind in "iu" and len(trained) < _MIN_SAMPLES_PER_CLASS * len(names):
        raise DataError(
            f"{where} has {len(names)} different integers in {len(trained)} samples, too many for classes. If they are "
            f"numbers to predict, write 'metric: rmse'. {cure}"
        )
    return Targets(
        {part: np.searchsorted(names, values).astype(np.int64) for part, values in checked.items()},
        tuple(map(str, names.tolist())),
    )


def _check_labels(values: Array, where: str, cure: str) -> Array:
    """Return labels (N,) of integers or texts. Raises DataError for fractions, and for several labels of a sample."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(f"{where} has the shape {values.shape}, and classes (N,) are needed: y.argmax(axis=1)? {cure}")
    if values.dtype.kind == "f":
        if (values != np.round(values)).any():
            raise DataError(
                f"{where} holds fractions, such as {values[values != np.round(values)][0]}, and the metric is one of "
                f"classes. For numbers to predict, write 'metric: rmse'. {cure}"
            )
        return values.astype(np.int64)
    if values.dtype.kind == "b":
        return values.astype(np.int64)
    if values.dtype.kind not in "iuU":
        raise DataError(f"{where} holds {values.dtype}, and integers, texts or floats are needed. {cure}")
    return values


def _find_bad_row(values: Array) -> int:
    return int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])
