"""The base class of every runtime's Session.

An inference has three steps (feed, invoke, fetch), so that the engine's own time can be measured separately.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from edgeproof.core.ports import DTYPES

Array = np.ndarray[Any, Any]

# Element types of model files that ports do not have, each with the wider type that sessions use instead.
WIDER_DTYPES = {"int16": "int32", "uint16": "int32", "uint32": "int64", "uint64": "int64"}


class InferenceSession(ABC):
    """A loaded model whose input and output buffers are bound once.

    Inputs and outputs are arrays with the model's own shapes, including the batch axis of 1, in the order of the
    artifact's ports. Their element types are those of choose_port_dtype().

    `allocates_output` is True if the engine allocates an output in each inference, because its size may depend on the
    values of the inputs. Then fetch() may return new arrays each time.
    """

    allocates_output: bool = False

    @abstractmethod
    def feed(self, *inputs: Array) -> None:
        """Copy one array for each input into the engine's buffers.

        float32 is quantized if the model takes integers for it. Integers are copied as they are.
        """

    @abstractmethod
    def invoke(self) -> None:
        """Run the engine. No copy or conversion happens here."""

    @abstractmethod
    def fetch(self) -> tuple[Array, ...]:
        """Return one array for each output. Quantized outputs are dequantized, other integers stay integers.

        Every call returns the same tuple of the same buffers, so copy them to keep them. If `allocates_output` is True,
        they may be new arrays.
        """

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """Run one whole inference, as an application does, and return the outputs."""
        self.feed(*inputs)
        self.invoke()
        return self.fetch()

    def list_states(self) -> list[str]:
        """Describe the states that the model keeps between inferences, one line each. Most models have none."""
        return []

    def reset_state(self) -> None:
        """Clear the model's state. Accuracy runs call it before each sample, so that samples are independent."""
        return

    def measure_memory_plan(self) -> dict[str, int]:
        """Return the bytes of memory that the engine planned for an inference: 'total', and its parts by name.

        Engines for microcontrollers plan all memory in one arena. Other engines return nothing.
        """
        return {}

    def fallbacks(self) -> list[str]:
        """Describe operators that did not run on the expected kernels or units, one line each."""
        return []


def choose_port_dtype(dtype: str) -> str:
    """Return the element type that a session takes or gives for a tensor of the file's element type `dtype`.

    Integers and booleans keep their type, or become wider where ports do not have it. All other types, which are floats
    of other sizes, become float32.
    """
    return dtype if dtype in DTYPES else WIDER_DTYPES.get(dtype, "float32")
