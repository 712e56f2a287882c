"""Treat modules of torch and models of Keras alike: determinism, predictions, quality, size.

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
from edgeproof.core.ports import Port
from edgeproof.data.task_checks import as_tuple
from edgeproof.models import qat, training, training_task, weight_masks
from edgeproof.models.entropy_coding import count_entropy_coded_bytes
from edgeproof.models.model_facts import ModelFacts, compute_sparsity
from edgeproof.models.training_task import TrainingTask, make_examples

KERAS = "keras"  # the FRAMEWORK of a network that builds a keras.Model

Array = np.ndarray[Any, Any]


def make_deterministic(network: str, seed: int, threads: int) -> None:
    """Make all that follows reproducible to the bit, in torch and in the framework of the network."""
    training.make_deterministic(seed, threads)
    if getattr(plugins.load("networks", network), "FRAMEWORK", None) == KERAS:
        from edgeproof.models import keras_models

        keras_models.make_deterministic(seed, threads)


def predict(module: Any, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the outputs (N, …) of a torch module or a keras.Model for a task's inputs (N, *shape)."""
    if not isinstance(module, nn.Module):
        from edgeproof.models import keras_models

        return keras_models.predict(module, inputs)
    with torch.no_grad():
        outputs = module(*map(torch.from_numpy, inputs))
    return tuple(output.numpy() for output in as_tuple(outputs))


def measure_quality(module: Any, task: TrainingTask) -> float:
    """Return the quality of a torch module or a keras.Model on the validation split, by the task's metric."""
    if isinstance(module, nn.Module):
        return training_task.measure_quality(module, task, task.validation)
    inputs = tuple(tensor.numpy() for tensor in task.validation.inputs)
    return task.measure(inputs, predict(module, inputs), task.validation.targets.numpy())


def compute_facts(module: Any, inputs: Sequence[Port]) -> ModelFacts:
    """Compute the facts of a torch module or a keras.Model with the given inputs.

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
        module.eval()(*make_examples(inputs, 1))
    return ModelFacts(
        parameters=parameters,
        macs=counter.get_total_flops() // 2,  # two operations: a multiplication and an addition
        weight_sparsity=compute_sparsity([w.detach().numpy() for w in weight_masks.find_weights(module)]),
        entropy_coded_bytes=count_entropy_coded_bytes(
            {name: tensor.numpy() for name, tensor in state.items() if tensor.is_floating_point()}
        ),
    )
