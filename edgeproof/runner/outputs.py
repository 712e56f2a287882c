"""Outputs of an inference: a check before anything is timed, and the bytes that LoadGen logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeproof.core.ports import Port

Array = np.ndarray[Any, Any]


def check_outputs(outputs: Sequence[Array], ports: Sequence[Port], *, sizes_vary: bool = False) -> None:
    """Raise TypeError or ValueError if outputs do not fit their ports, or if the first one is not finite.

    Without ports only the types are checked: float32, integers or truth values. An output may have the shape of its
    port or a batch axis of 1 before it. Other shapes pass if `sizes_vary`.
    """
    if ports and len(outputs) != len(ports):
        raise ValueError(f"the model has {len(outputs)} outputs, expected {len(ports)}")
    for number, output in enumerate(outputs):
        expected = ports[number].dtype if ports else "float32" if output.dtype.kind == "f" else output.dtype.name
        # A converter may store integers in another size. LoadGen's log then holds them in that of the port.
        both_integers = output.dtype.kind in "iu" and np.dtype(expected).kind in "iu"
        if output.dtype != expected and not both_integers:
            raise TypeError(f"the session returned {output.dtype}, expected {expected}")
        if not ports or sizes_vary or output.shape == ports[number].shape:
            continue
        if output.shape != (1, *ports[number].shape):
            shapes = f"{list(output.shape)}, expected {[1, *ports[number].shape]}"
            raise ValueError(f"the model's output has shape {shapes}")
    if not np.isfinite(outputs[0]).all():
        raise ValueError("the model's first output holds NaN or infinity")


class ResponsePacker:
    """Packs outputs into one buffer: their bytes one after another, in C order and in the types of their ports.

    The buffer is allocated for the first outputs, and again only for outputs of other shapes.
    """

    def __init__(self, ports: Sequence[Port]) -> None:
        self._ports = ports
        self._shapes: list[tuple[int, ...]] = []
        self._views: list[Array] = []
        self._buffer = np.zeros(0, np.uint8)

    def changes(self, outputs: Sequence[Array]) -> bool:
        """Return True if the packed bytes are not those of a single output as it is."""
        return len(outputs) != 1 or bool(self._ports and outputs[0].dtype != self._ports[0].dtype)

    def pack(self, outputs: Sequence[Array]) -> Array:
        """Return the buffer with the bytes of the outputs. The next call overwrites it."""
        shapes = [output.shape for output in outputs]
        if shapes != self._shapes:
            self._allocate(outputs, shapes)
        for view, output in zip(self._views, outputs, strict=True):
            view[...] = output
        return self._buffer

    def _allocate(self, outputs: Sequence[Array], shapes: list[tuple[int, ...]]) -> None:
        types = [np.dtype(port.dtype) for port in self._ports] or [output.dtype for output in outputs]
        sizes = [dtype.itemsize * output.size for dtype, output in zip(types, outputs, strict=True)]
        self._shapes, self._buffer = shapes, np.zeros(sum(sizes), np.uint8)
        parts = np.split(self._buffer, np.cumsum(sizes)[:-1])
        self._views = [part.view(dtype).reshape(shape) for part, dtype, shape in zip(parts, types, shapes, strict=True)]
