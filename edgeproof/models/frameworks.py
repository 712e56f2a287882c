"""Treat modules of torch and models of Keras alike: determinism, predictions, accuracy, size.

Keras and TensorFlow are imported only for a Keras model, since the import takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgeproof.core import plugins
from edgeproof.models import qat, training
from edgeproof.models.entropy_coding import count_entropy_coded_bytes
from edgeproof.models.model_facts import ModelFacts, compute_sparsity

KERAS = "keras"  # the FRAMEWORK of a network that builds a keras.Model

Array = np.ndarray[Any, Any]


def make_deterministic(network: str, seed: int, threads: int) -> None:
    """Make all that follows reproducible to the bit, in torch and in the framework of the network."""
    training.make_deterministic(seed, threads)
    if getattr(plugins.load("networks", network), "FRAMEWORK", None) == KERAS:
        from edgeproof.models import keras_models

        keras_models.make_deterministic(seed, threads)


def predict(module: Any, samples: Array) -> Array:
    """Return the outputs (N, classes) of a torch module or a keras.Model for a task's samples (N, C, H, W)."""
    if not isinstance(module, nn.Module):
        from edgeproof.models import keras_models

        return keras_models.predict(module, samples)
    with torch.no_grad():
        outputs: Array = module(torch.from_numpy(samples)).numpy()
    return outputs


def measure_accuracy(module: Any, x: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share (0 to 1) of samples `x` whose largest output belongs to their label."""
    if isinstance(module, nn.Module):
        return training.measure_accuracy(module, x, labels)
    return float((predict(module, x.numpy()).argmax(1) == labels.numpy()).mean())


def compute_facts(module: Any, input_shape: Sequence[int]) -> ModelFacts:
    """Compute the facts of a torch module or a keras.Model for inputs of `input_shape`, without the batch dimension.

    The parameters of a network with fake quantization are those of the network that it was made from.
    """
    if not isinstance(module, nn.Module):
        from edgeproof.models import keras_models

        return keras_models.compute_facts(module)
    if isinstance(module, qat.FakeQuantizedModule):
        parameters, state = module.original_parameter_count, module.inference_state()
    else:
        parameters, state = sum(p.numel() for p in module.parameters()), module.state_dict()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(torch.zeros(1, *input_shape))
    return ModelFacts(
        parameters=parameters,
        macs=counter.get_total_flops() // 2,  # two operations: a multiplication and an addition
        weight_sparsity=compute_sparsity([w.detach().numpy() for w in training.find_weights(module)]),
        entropy_coded_bytes=count_entropy_coded_bytes(
            {name: tensor.numpy() for name, tensor in state.items() if tensor.is_floating_point()}
        ),
    )
