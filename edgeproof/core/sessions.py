"""The base class of every runtime's Session.

An inference has three steps (feed, invoke, fetch), so that the engine's own time can be measured separately.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class InferenceSession(ABC):
    """A loaded model whose input and output buffers are bound once.

    Inputs and outputs are float32 arrays with the model's own shapes, including the batch axis of 1.
    """

    @abstractmethod
    def feed(self, x: Array) -> None:
        """Copy an input into the engine's buffer. It is quantized if the model takes integers."""

    @abstractmethod
    def invoke(self) -> None:
        """Run the engine. No copy or conversion happens here."""

    @abstractmethod
    def fetch(self) -> Array:
        """Return the output. It is dequantized if the model returns integers.

        Every call returns the same buffer, so copy it to keep it.
        """

    def __call__(self, x: Array) -> Array:
        """Run one whole inference, as an application does, and return the output."""
        self.feed(x)
        self.invoke()
        return self.fetch()

    def fallbacks(self) -> list[str]:
        """Describe operators that ran on other than the expected kernels or units, one line each."""
        return []
