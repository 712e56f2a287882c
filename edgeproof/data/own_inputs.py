"""Inputs of a user's own data: their type, and the offset and divisor of their preprocessing."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeproof.core.described_tasks import DescribedInput
from edgeproof.core.ports import Port

# 8-bit values of 0..255 become -1..1.
MIDDLE = 127.5

Array = np.ndarray[Any, Any]


def describe_input(name: str, train: Array, *, standardize: bool, tokens: bool) -> DescribedInput:
    """Return the input that raw training samples (N, *shape) are.

    With `standardize`, each feature (axis 1) is shifted and divided to mean 0 and deviation 1 over the training
    samples. Otherwise 8-bit values are scaled to -1..1, and all others are kept. Tokens stay integers.
    """
    if tokens:
        return DescribedInput(Port(name, train.shape[1:], "int64"))
    port = Port(name, train.shape[1:])
    if standardize:
        axes = tuple(axis for axis in range(train.ndim) if axis != 1)
        mean, deviation = train.mean(axis=axes, dtype=np.float64), train.std(axis=axes, dtype=np.float64)
        shape = (-1, *[1] * (train.ndim - 2))
        # A constant feature has no deviation. It becomes 0.
        divisor = np.where(deviation > 0, deviation, 1.0)
        return DescribedInput(port, mean.reshape(shape).tolist(), divisor.reshape(shape).tolist())
    return DescribedInput(port, MIDDLE, MIDDLE) if train.dtype == np.uint8 else DescribedInput(port)


def to_stored_type(values: Array, *, tokens: bool) -> Array:
    """Return raw values in the type that is stored: int64 for tokens, uint8 as it is, and float32 for all others."""
    if tokens:
        return values.astype(np.int64)
    return values if values.dtype == np.uint8 else values.astype(np.float32)
