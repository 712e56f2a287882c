"""Messages between server and clients as bytes. The bytes that a study reports are the lengths of these messages.

A message is a header and arrays in little-endian order:

    header      magic, kind, number of samples, parameters, statistics and kept entries
    weights     parameters and statistics in float32 (from the server)
    none        the update in float32
    int8        a float32 scale for each tensor, then the update as int8
    top_k       the positions of the kept entries as uint32, then their values in float32

An update is the difference to the weights that the client received. Statistics follow in float32 as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeproof.federated.errors import MessageError, NotFiniteError
from edgeproof.federated.settings import Compression
from edgeproof.federated.weights import Layout, Weights

Array = np.ndarray[Any, Any]

_HEADER = struct.Struct("<4sIIIII")
_MAGIC = b"EPF1"
_WEIGHTS, _NONE, _INT8, _TOP_K = range(4)
_KINDS = {"none": _NONE, "int8": _INT8, "top_k": _TOP_K}
_INT8_LIMIT = 127


@dataclass(frozen=True)
class Update:
    """A decoded update: the difference to the global parameters, new statistics, and the number of samples."""

    difference: Array
    statistics: Array
    samples: int


def encode_weights(weights: Weights) -> bytes:
    """Return the message in which the server sends the global weights."""
    header = _HEADER.pack(_MAGIC, _WEIGHTS, 0, len(weights.parameters), len(weights.statistics), 0)
    return header + _to_bytes(weights.parameters, "<f4") + _to_bytes(weights.statistics, "<f4")


def decode_weights(message: bytes, layout: Layout) -> Weights:
    """Return the weights in a server's message. Raises MessageError if it does not fit the layout."""
    reader = _Reader(message, layout, {_WEIGHTS})
    parameters = reader.read("<f4", layout.parameter_count)
    return Weights(parameters, reader.finish(layout.statistic_count))


def encode_update(update: Update, compression: Compression, layout: Layout) -> bytes:
    """Return the message in which a client sends its update."""
    kind, difference, kept = _KINDS[compression.name], update.difference, 0
    if kind == _TOP_K:
        positions = select_largest(difference, compression.share)
        kept = len(positions)
        body = _to_bytes(positions, "<u4") + _to_bytes(difference[positions], "<f4")
    elif kind == _INT8:
        scales = [_find_scale(part) for part in _split(difference, layout.sizes)]
        levels = [_quantize(part, scale) for part, scale in zip(_split(difference, layout.sizes), scales, strict=True)]
        body = _to_bytes(np.array(scales), "<f4") + b"".join(level.tobytes() for level in levels)
    else:
        body = _to_bytes(difference, "<f4")
    header = _HEADER.pack(_MAGIC, kind, update.samples, len(difference), len(update.statistics), kept)
    return header + body + _to_bytes(update.statistics, "<f4")


def decode_update(message: bytes, layout: Layout) -> Update:
    """Return the update in a client's message.

    Raises MessageError for a message of another shape, and NotFiniteError for values that are not finite.
    """
    reader = _Reader(message, layout, set(_KINDS.values()))
    count = layout.parameter_count
    if reader.kind == _INT8:
        scales = reader.read("<f4", len(layout.sizes))
        levels = reader.read("i1", count)
        parts = zip(_split(levels, layout.sizes), scales, strict=True)
        difference = np.concatenate([part.astype(np.float32) * scale for part, scale in parts])
    elif reader.kind == _TOP_K:
        positions = reader.read("<u4", reader.kept).astype(np.int64)
        values = reader.read("<f4", reader.kept)
        if len(positions) and (positions.max() >= count or len(np.unique(positions)) < len(positions)):
            raise MessageError("positions of kept entries are repeated or too large")
        difference = np.zeros(count, np.float32)
        difference[positions] = values
    else:
        difference = reader.read("<f4", count)
    update = Update(difference, reader.finish(layout.statistic_count), reader.samples)
    if not (np.isfinite(update.difference).all() and np.isfinite(update.statistics).all()):
        raise NotFiniteError("the update is not finite")
    if update.samples < 1:
        raise MessageError("the update is from no sample")
    return update


def check_update(message: bytes, compression: Compression, samples: int, layout: Layout) -> None:
    """Check a message from a device that nobody vouches for: its encoding, its number of samples and its values.

    Raises MessageError for a message that the client's own code would not have sent, and NotFiniteError for one that it
    sends after training that diverged.
    """
    reader = _Reader(message, layout, {_KINDS[compression.name]})
    kept = count_kept(layout.parameter_count, compression.share) if compression.name == "top_k" else 0
    if (reader.samples, reader.kept) != (samples, kept):
        raise MessageError(
            f"the update is from {reader.samples} samples with {reader.kept} kept entries, and not from {samples} with "
            f"{kept}"
        )
    decode_update(message, layout)


def count_kept(entries: int, share: float) -> int:
    """Return how many entries top-k keeps: the given share, and at least one."""
    return min(entries, max(1, int(np.ceil(share * entries))))


def select_largest(values: Array, share: float) -> Array:
    """Return the sorted positions of the given share of entries, at least one, with the largest absolute values.

    NaN counts as the largest value, so that it is sent and the server rejects it.
    """
    count = count_kept(len(values), share)
    sizes = np.nan_to_num(np.abs(values), nan=np.inf, posinf=np.inf)
    return np.sort(np.argpartition(-sizes, count - 1)[:count])


class _Reader:
    """Reads the arrays of a message, and checks its header against the layout and its length."""

    def __init__(self, message: bytes, layout: Layout, kinds: set[int]) -> None:
        if len(message) < _HEADER.size:
            raise MessageError(f"the message has {len(message)} bytes, fewer than its header")
        magic, self.kind, self.samples, parameters, statistics, self.kept = _HEADER.unpack_from(message)
        if magic != _MAGIC or self.kind not in kinds:
            raise MessageError("the message is of another kind")
        expected = (layout.parameter_count, layout.statistic_count)
        if (parameters, statistics) != expected:
            raise MessageError(
                f"the message has {parameters} parameters and {statistics} statistics, the model has "
                f"{expected[0]} and {expected[1]}"
            )
        self._message, self._start = message, _HEADER.size

    def read(self, dtype: str, count: int) -> Array:
        """Return the next array as a copy in the machine's byte order."""
        size = np.dtype(dtype).itemsize * count
        if self._start + size > len(self._message):
            raise MessageError(f"the message ends early, after {len(self._message)} bytes")
        array = np.frombuffer(self._message, dtype, count, self._start)
        self._start += size
        return array.astype(array.dtype.newbyteorder("="))

    def finish(self, statistics: int) -> Array:
        """Return the statistics at the end. Raises MessageError if anything follows."""
        array = self.read("<f4", statistics)
        if self._start != len(self._message):
            raise MessageError(f"the message has {len(self._message) - self._start} bytes too many")
        return array


def _to_bytes(array: Array, dtype: str) -> bytes:
    return np.ascontiguousarray(array, dtype).tobytes()


def _split(vector: Array, sizes: Sequence[int]) -> list[Array]:
    """Return the tensors of a vector, each flat."""
    return np.split(vector, np.cumsum(sizes)[:-1]) if sizes else []


def _find_scale(values: Array) -> np.float32:
    """Return the value of one level. It is NaN for values that are not finite, so that the server rejects them."""
    return np.float32(np.abs(values).max(initial=0.0) / _INT8_LIMIT)


def _quantize(values: Array, scale: np.float32) -> Array:
    if not scale > 0 or not np.isfinite(scale):
        return np.zeros(len(values), np.int8)
    return np.clip(np.rint(values / scale), -_INT8_LIMIT, _INT8_LIMIT).astype(np.int8)
