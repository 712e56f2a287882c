"""Keras files and SavedModel directories as functions of one tensor. Importing TensorFlow takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgeproof.core.artifacts import ModelInterface, TensorSpec
from edgeproof.core.errors import ConfigError

SIGNATURE = "serving_default"


@dataclass(frozen=True)
class KerasFunction:
    """What the file takes and answers, a function for each output, and the variables that these read."""

    interface: ModelInterface
    outputs: Sequence[Callable[[Any], Any]]
    variables: Sequence[Any]


def load(path: Path) -> KerasFunction:
    """Read a .keras, .h5 or SavedModel. Code that a Keras file carries (Lambda layers) is refused, never run."""
    return _saved_model(path) if path.is_dir() else _keras(path)


def _keras(path: Path) -> KerasFunction:
    model = keras.models.load_model(path, safe_mode=True, compile=False)

    def packed(x: Any) -> Any:
        """As the model wants its only input; a Sequential doesn't say."""
        return x if isinstance(model, keras.Sequential) else tf.nest.pack_sequence_as(model.input, [x])

    def output(n: int) -> Callable[[Any], Any]:
        return lambda x: tf.nest.flatten(model(packed(x), training=False))[n]

    if not getattr(model, "outputs", None):
        raise ConfigError(f"{path} was never built: its inputs' shape is not in it. Call it once, then save it again.")
    names = list(getattr(model, "output_names", None) or [model.layers[-1].name])  # a Sequential has one, and no names
    given = tuple(_port(tensor.name, tensor) for tensor in model.inputs)
    produced = tuple(_port(name, tensor) for name, tensor in zip(names, model.outputs, strict=True))
    return KerasFunction(
        ModelInterface(given, produced), [output(n) for n in range(len(names))], [each.value for each in model.variables]
    )


def _saved_model(path: Path) -> KerasFunction:
    loaded = tf.saved_model.load(str(path))
    if SIGNATURE not in loaded.signatures:
        raise ConfigError(f"{path} has no signature '{SIGNATURE}': save it with one (Keras: model.export).")
    function = loaded.signatures[SIGNATURE]
    given = function.structured_input_signature[1]
    produced = function.structured_outputs

    def output(name: str) -> Callable[[Any], Any]:
        return lambda x: function(**dict.fromkeys(given, x))[name]

    return KerasFunction(
        ModelInterface(
            tuple(_port(name, spec) for name, spec in given.items()),
            tuple(_port(name, spec) for name, spec in produced.items()),
        ),
        [output(name) for name in produced],
        [loaded],
    )


def _port(name: str, tensor: Any) -> TensorSpec:
    if tensor.shape is None or getattr(tensor.shape, "rank", 0) is None:
        raise ValueError(f"'{name}' has no shape")
    dtype = tensor.dtype if isinstance(tensor.dtype, str) else tensor.dtype.as_numpy_dtype
    return TensorSpec(name, tuple(tensor.shape), np.dtype(dtype).name)
