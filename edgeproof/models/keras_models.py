"""Keras models: determinism, weights, facts, predictions and export.

A task's samples are (N, C, H, W), and a Keras network takes (N, H, W, C), the layout of TensorFlow. Import this module
only for a Keras network: importing TensorFlow takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgeproof.core.artifacts import ExportResult
from edgeproof.core.errors import ArtifactError, Unsupported
from edgeproof.core.layouts import move_channels_last
from edgeproof.models.entropy_coding import count_entropy_coded_bytes
from edgeproof.models.model_facts import ModelFacts, compute_sparsity

Array = np.ndarray[Any, Any]


def make_deterministic(seed: int, threads: int) -> None:
    """Make all following TensorFlow operations reproducible to the bit for this seed and number of threads."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def read_weights(model: Any) -> dict[str, Array]:
    """Return the variables of a model by their paths, such as stem/kernel."""
    return {variable.path: variable.numpy() for variable in model.variables if "seed_generator" not in variable.path}


def load_weights(model: Any, weights: Mapping[str, Array], path: Path) -> None:
    """Put weights stored in the file `path` into a newly built model. Raises ArtifactError when they do not fit."""
    expected_shapes = {name: value.shape for name, value in read_weights(model).items()}
    if {name: value.shape for name, value in weights.items()} != expected_shapes:
        raise ArtifactError(f"{path} does not fit its network. Build the model again with 'dvc repro'.")
    for variable in model.variables:
        if variable.path in weights:
            variable.assign(weights[variable.path])


def compute_facts(model: Any) -> ModelFacts:
    """Compute the facts of a model. Parameters are the trainable variables; MACs are those of layers with a kernel."""
    parameters = [variable.numpy() for variable in model.trainable_variables]
    return ModelFacts(
        parameters=sum(value.size for value in parameters),
        macs=sum(
            math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
            for layer in model.layers
            if hasattr(layer, "kernel")
        ),
        weight_sparsity=compute_sparsity([value for value in parameters if value.ndim > 1]),
        entropy_coded_bytes=count_entropy_coded_bytes(read_weights(model)),
    )


def predict(model: Any, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the outputs (N, …) for a task's inputs (N, C, H, W)."""
    arrays = move_channels_last(inputs)
    outputs = model.predict(arrays[0] if len(arrays) == 1 else list(arrays), batch_size=500, verbose=0)
    return tuple(outputs) if isinstance(outputs, list) else (outputs,)


def export(runtime: ModuleType, model: Any, samples: tuple[Array, ...], scheme: str, out_dir: Path) -> ExportResult:
    """Export a model with a task's inputs (N, C, H, W). Raises Unsupported for a runtime that can't export Keras."""
    if not hasattr(runtime, "export_keras"):
        raise Unsupported("this runtime's converter starts from torch, and the network was trained in Keras")
    variables = [variable.value for variable in model.variables]

    def compute(*inputs: Any) -> Any:
        return model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)

    result: ExportResult = runtime.export_keras(compute, variables, move_channels_last(samples), scheme, out_dir)
    return result
