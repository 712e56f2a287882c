"""What every runtime's Session is: one inference in three steps, so that the engine's own share can be timed apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class InferenceSession(ABC):
    """A loaded model with its buffers bound once. Arrays are float32 and shaped as the model's, batch included."""

    @abstractmethod
    def feed(self, x: Array) -> None:
        """Bring an input into the engine's own buffer, quantized where the model wants integers."""

    @abstractmethod
    def invoke(self) -> None:
        """Run the engine, and nothing else."""

    @abstractmethod
    def fetch(self) -> Array:
        """The output, dequantized where the model answers in integers; the same buffer each time."""

    def __call__(self, x: Array) -> Array:
        """One inference as an application sees it."""
        self.feed(x)
        self.invoke()
        return self.fetch()

    def fallbacks(self) -> list[str]:
        """What did not run where it should (operators off the expected kernels), one readable line each."""
        return []
