"""Check whether a network takes a task's inputs and gives its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeproof.core import plugins


def explain_misfit(network: str, options: Mapping[str, Any], task: Any) -> str | None:
    """Return None if a network with these options takes the task's inputs and gives its outputs, or else the reason.

    The network is built and run once on zeros.
    """
    import torch

    from edgeproof.data.task_checks import as_tuple
    from edgeproof.models.training_task import make_examples

    plugin = plugins.load("networks", network)
    shape = tuple(task.INPUTS[0].shape)
    if plugin.KIND == "autoencoder" and tuple(task.OUTPUTS[0].shape) != shape:
        return "it reconstructs its input, and the task does not"
    if plugin.KIND == "sequence_classifier" and shape[-1] != 1:
        return f"it takes one signal per channel, and the task gives {shape}"
    if plugin.KIND == "spectrogram_classifier" and task.INPUTS[0].name == "image":
        return f"it reads steps of time, and the task's input is named 'image', of shape {shape}"
    try:
        module = plugin.build(tuple(task.INPUTS), tuple(task.OUTPUTS), **options)
        with torch.no_grad():
            outputs = as_tuple(module.eval()(*make_examples(task.INPUTS, 1)))
    except Exception as error:  # a network that was written for other inputs
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    shapes = [tuple(output.shape[1:]) for output in outputs]
    expected = [tuple(port.shape) for port in task.OUTPUTS]
    return None if shapes == expected else f"it gives {shapes}, and the task needs {expected}"
