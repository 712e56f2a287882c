"""Keras networks as the rest of edgeproof needs them. Importing TensorFlow takes seconds, so only who has one does.

A task's samples are (N, C, H, W); a Keras network takes them as TensorFlow lays them out, (N, H, W, C).
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
from edgeproof.data.layouts import channels_last
from edgeproof.models.entropy_coding import count_entropy_coded_bytes

Array = np.ndarray[Any, Any]


def make_deterministic(seed: int, threads: int) -> None:
    """Make every following TensorFlow operation reproducible to the bit for this seed and thread count."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def read_weights(model: Any) -> dict[str, Array]:
    """Every variable that is part of the model by its path, such as stem/kernel."""
    return {variable.path: variable.numpy() for variable in model.variables if "seed_generator" not in variable.path}


def load_weights(model: Any, weights: Mapping[str, Array], where: Path) -> None:
    """Put stored weights into a model as it was built. Raises ArtifactError when they do not fit."""
    wanted = {path: value.shape for path, value in read_weights(model).items()}
    if {path: value.shape for path, value in weights.items()} != wanted:
        raise ArtifactError(f"{where} does not fit its network. Build it again with 'dvc repro'.")
    for variable in model.variables:
        if variable.path in weights:
            variable.assign(weights[variable.path])


def compute_facts(model: Any) -> dict[str, Any]:
    """What models.facts tells of a module: parameters are what is trained, MACs those of layers with a kernel."""
    trained = [variable.numpy() for variable in model.trainable_variables]
    weights = [value for value in trained if value.ndim > 1]
    total = sum(value.size for value in weights)
    macs = sum(
        math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
        for layer in model.layers
        if hasattr(layer, "kernel")
    )
    return {
        "parameters": sum(value.size for value in trained),
        "macs": macs,
        "weight_sparsity": round(sum(int((value == 0).sum()) for value in weights) / total, 6) if total else 0.0,
        "entropy_coded_bytes": count_entropy_coded_bytes(read_weights(model)),
    }


def predict(model: Any, samples: Array) -> Array:
    """The model's outputs (N, classes) for a task's samples (N, C, H, W)."""
    found: Array = model.predict(channels_last(samples), batch_size=500, verbose=0)
    return found


def export(runtime: ModuleType, model: Any, samples: Array, scheme: str, out_dir: Path) -> ExportResult:
    """Lower a Keras network for a runtime that can: `samples` are the task's (N, C, H, W)."""
    if not hasattr(runtime, "export_keras"):
        raise Unsupported("this runtime's converter starts from torch, and the network was trained in Keras")
    variables = [variable.value for variable in model.variables]
    lowered: ExportResult = runtime.export_keras(
        lambda x: model(x, training=False), variables, channels_last(samples), scheme, out_dir
    )
    return lowered
