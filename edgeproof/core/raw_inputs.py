"""The raw inputs of a task, such as photographs or recordings: how one is preprocessed for a network, and examples.

A task that has them names them RAW_INPUTS. The runner times their preprocessing apart from inferences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class RawInputs:
    """The raw inputs of a task.

    Attributes:
        preprocess: turns one raw input into the inputs of a network, an array (1, *shape) or a tuple of them.
        make_examples: returns some raw inputs of similar cost, the same ones in every process.
        description: what the examples are, and whether they are synthetic. It is a condition of the figure.
        packages: the packages that `preprocess` needs beside numpy. The record holds their versions.
    """

    preprocess: Callable[[Any], Array | tuple[Array, ...]]
    make_examples: Callable[[], Sequence[Any]]
    description: str
    packages: tuple[str, ...] = ()
