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

    `allocates_output` is True if the engine allocates the output in each inference, because its size may depend on the
    values of the input. Then fetch() may return a new array each time.
    """

    allocates_output: bool = False

    @abstractmethod
    def feed(self, x: Array) -> None:
        """Copy an input into the engine's buffer. It is quantized if the model takes integers."""

    @abstractmethod
    def invoke(self) -> None:
        """Run the engine. No copy or conversion happens here."""

    @abstractmethod
    def fetch(self) -> Array:
        """Return the output. It is dequantized if the model returns integers.

        Every call returns the same buffer, so copy it to keep it. It may be a new array if `allocates_output`.
        """

    def __call__(self, x: Array) -> Array:
        """Run one whole inference, as an application does, and return the output."""
        self.feed(x)
        self.invoke()
        return self.fetch()

    def list_states(self) -> list[str]:
        """Describe the states that the model keeps between inferences, one line each. Most models have none."""
        return []

    def reset_state(self) -> None:
        """Clear the model's state. Accuracy runs call it before each sample, so that samples are independent."""
        return

    def fallbacks(self) -> list[str]:
        """Describe operators that did not run on the expected kernels or units, one line each."""
        return []
