"""Conversion of TensorFlow functions (Keras models, SavedModels) to TFLite with TensorFlow's own converter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgeproof.core.errors import Unsupported

Array = np.ndarray[Any, Any]

SCHEMES = ("fp32", "fp16", "int8-dynamic", "int8-static")


def convert(model: Callable[..., Any], variables: Sequence[Any], samples: tuple[Array, ...], scheme: str) -> bytes:
    """Convert a function of tensors, which reads `variables`, to a TFLite file with a batch of one.

    `samples` have an array (N, *shape) of the element type of each input; int8-static is calibrated on all of them.
    Raises Unsupported for a scheme or a network that the converter cannot do.
    """
    import tensorflow as tf

    if scheme not in SCHEMES:
        raise Unsupported(f"edgeproof does not make '{scheme}' with TensorFlow's own converter")

    class VariableHolder(tf.Module):  # type: ignore[misc]
        """The object in which the converter looks for variables."""

        def __init__(self) -> None:
            super().__init__()
            self.held = list(variables)

    names = ["input"] if len(samples) == 1 else [f"input_{number}" for number in range(len(samples))]
    specs = [
        tf.TensorSpec([1, *array.shape[1:]], array.dtype, name=name) for name, array in zip(names, samples, strict=True)
    ]
    function = tf.function(model, autograph=False).get_concrete_function(*specs)
    if scheme == "int8-static" and _has_loop(function.graph.as_graph_def()):
        raise Unsupported(
            "TensorFlow's converter can't calibrate a network with a loop, as recurrent layers have, and takes its "
            "process down. Build the layer with unroll=True"
        )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], VariableHolder())
    if scheme != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if scheme == "int8-static":
        converter.representative_dataset = lambda: (
            [array[i : i + 1] for array in samples] for i in range(len(samples[0]))
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_output_type = tf.int8
        if all(array.dtype == np.float32 for array in samples):
            converter.inference_input_type = tf.int8
    return bytes(converter.convert())


def _has_loop(graph: Any) -> bool:
    """Return True if a TensorFlow graph, or a function that it calls, contains a loop."""
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    return any(node.op in ("While", "StatelessWhile") for nodes in bodies for node in nodes)
