"""Ports: the inputs and outputs of a task, a network or an artifact, each with its name, shape and element type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DTYPES = ("float32", "int64", "int32", "uint8", "int8", "bool")


@dataclass(frozen=True)
class Port:
    """An input or output. `shape` does not include the batch axis; `dtype` is one of DTYPES.

    Raises ValueError for a size below 1 or another dtype.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if any(size < 1 for size in self.shape):
            raise ValueError(f"port '{self.name}' has the shape {self.shape}; every size must be at least 1")
        if self.dtype not in DTYPES:
            raise ValueError(f"port '{self.name}' has the dtype {self.dtype}; allowed: {', '.join(DTYPES)}")

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def is_integer(self) -> bool:
        """True for integers and truth values, which are never quantized."""
        return self.dtype != "float32"

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a meta.json."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Port:
        """Return the port in an entry of a meta.json. Raises KeyError, TypeError or ValueError for another content."""
        return cls(str(content["name"]), tuple(int(size) for size in content["shape"]), str(content["dtype"]))
