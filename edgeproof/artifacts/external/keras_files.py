"""Reading Keras files and SavedModel directories as functions of tensors. Importing TensorFlow takes seconds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    """A model's interface, the function from its inputs to the list of its outputs, and the variables that it reads."""

    interface: ModelInterface
    compute: Callable[..., Sequence[Any]]
    variables: Sequence[Any]


def load(path: Path) -> KerasFunction:
    """Read a .keras or .h5 file or a SavedModel.

    Code that a Keras file contains (Lambda layers) never runs: Keras refuses such a file.
    """
    return _load_saved_model(path) if path.is_dir() else _load_keras(path)


def _load_keras(path: Path) -> KerasFunction:
    with _lower_suffix(path) as readable:
        model = keras.models.load_model(readable, safe_mode=True, compile=False)

    def compute(*inputs: Any) -> Any:
        # A Sequential model takes the tensor itself, and others take the structure of their inputs.
        is_plain = isinstance(model, keras.Sequential)
        packed = inputs[0] if is_plain else tf.nest.pack_sequence_as(model.input, list(inputs))
        return tf.nest.flatten(model(packed, training=False))

    if not getattr(model, "outputs", None):
        raise ConfigError(
            f"{path} holds no input shape, because the model was never built. Call it, then save it again."
        )
    # A Sequential model has one output and no output names.
    names = list(getattr(model, "output_names", None) or [model.layers[-1].name])
    inputs = tuple(_build_spec(tensor.name, tensor) for tensor in model.inputs)
    outputs = tuple(_build_spec(name, tensor) for name, tensor in zip(names, model.outputs, strict=True))
    return KerasFunction(
        ModelInterface(inputs, outputs),
        compute,
        [variable.value for variable in model.variables],
    )


def _load_saved_model(path: Path) -> KerasFunction:
    try:
        model = tf.saved_model.load(str(path))
    except AttributeError as error:
        if "slot" not in str(error):
            raise
        raise ConfigError(
            f"{path} holds the state of an optimizer, which TensorFlow {tf.__version__} cannot restore: save the model "
            "again without its optimizer (in Keras: model.export)."
        ) from None
    if SIGNATURE not in model.signatures:
        raise ConfigError(f"{path} has no signature '{SIGNATURE}'. Save it with one (in Keras: model.export).")
    function = model.signatures[SIGNATURE]
    inputs = function.structured_input_signature[1]
    outputs = function.structured_outputs

    def compute(*tensors: Any) -> Any:
        results = function(**dict(zip(inputs, tensors, strict=True)))
        return [results[name] for name in outputs]

    return KerasFunction(
        ModelInterface(
            tuple(_build_spec(name, tensor) for name, tensor in inputs.items()),
            tuple(_build_spec(name, tensor) for name, tensor in outputs.items()),
        ),
        compute,
        [model],
    )


@contextmanager
def _lower_suffix(path: Path) -> Iterator[Path]:
    """Yield a path of the same file with a suffix in small letters, by which Keras recognizes the format."""
    if path.suffix == path.suffix.lower():
        yield path
        return
    with tempfile.TemporaryDirectory() as directory:
        link = Path(directory, f"model{path.suffix.lower()}")
        link.symlink_to(path.resolve())
        yield link


def _build_spec(name: str, tensor: Any) -> TensorSpec:
    if tensor.shape is None or getattr(tensor.shape, "rank", 0) is None:
        raise ValueError(f"'{name}' has no shape")
    dtype = tensor.dtype if isinstance(tensor.dtype, str) else tensor.dtype.as_numpy_dtype
    return TensorSpec(name, tuple(tensor.shape), np.dtype(dtype).name)
