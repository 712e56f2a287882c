"""Build a network and run it once before it is trained, so that a mistake in its file is reported as one line."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeproof.core import plugins
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.core.ports import Port
from edgeproof.models.brought_models import BroughtModule
from edgeproof.models.model_files import NetworkSpec

# Two samples, so that a network that drops the batch axis is noticed.
SAMPLES = 2


def build_checked(spec: NetworkSpec) -> Any:
    """Return the untrained network, after a torch module has been run once on zeros.

    Raises ConfigError, with the line of the network's file, if it can't be built or run, or if its outputs are not
    those that the task declares. The state of the random generator stays as building leaves it.
    """
    source = plugins.find_source("networks", spec.name)
    try:
        module = spec.build()
        if module is None:
            raise ConfigError(f"{source}: build() returned None. Let it return the network.")
        # The method adds the file of a brought model later. Networks of Keras are not run.
        if isinstance(module, nn.Module) and not isinstance(module, BroughtModule):
            _check_outputs(_run(module, spec.inputs), spec.outputs, source)
    except EdgeproofError:
        raise
    except Exception as error:  # a user's own code may raise anything
        reason = " ".join(str(error).split()) or "no message"
        raise ConfigError(
            f"{_locate(error, source)}: {type(error).__name__}: {reason:.300}. The network takes "
            f"{_describe(spec.inputs)}. Correct the file, then run the same command again."
        ) from error
    return module


def _run(module: nn.Module, inputs: tuple[Port, ...]) -> Any:
    """Return the outputs for zeros. Neither statistics of batches nor random numbers change."""
    was_training = module.training
    zeros = [torch.zeros((SAMPLES, *port.shape), dtype=getattr(torch, port.dtype)) for port in inputs]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        outputs = module.eval()(*zeros)
    module.train(was_training)
    return outputs


def _check_outputs(outputs: Any, ports: tuple[Port, ...], source: Path) -> None:
    tensors = outputs if isinstance(outputs, tuple) else (outputs,)
    if not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        names = ", ".join(type(tensor).__name__ for tensor in tensors)
        raise ConfigError(f"{source}: the network returns {names}. It must return a tensor, or a tuple of tensors.")
    given = [tuple(tensor.shape) for tensor in tensors]
    expected = [(SAMPLES, *port.shape) for port in ports]
    if given != expected:
        shapes = " and ".join(_format_shape(shape) for shape in given)
        raise ConfigError(
            f"{source}: the network returns {shapes}, and the task needs {_describe(ports)}, N for the samples of a "
            "batch. build(inputs, outputs) gets these shapes: for a classification, outputs[0].size is the number of "
            "classes. Correct the file, then run the same command again."
        )


def _describe(ports: tuple[Port, ...]) -> str:
    return " and ".join(f"'{port.name}' {_format_shape((SAMPLES, *port.shape))}" for port in ports)


def _format_shape(shape: tuple[int, ...]) -> str:
    """Format a shape with N in the place of the batch: (N, 3). Another first size is no batch."""
    first = "N" if shape[:1] == (SAMPLES,) else ", ".join(map(str, shape[:1]))
    return f"({', '.join([first, *map(str, shape[1:])])})"


def _locate(error: Exception, source: Path) -> str:
    """Return the network's file, and the line in it that raised the error or called what raised it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == source]
    return f"{source}, line {frames[-1].lineno}" if frames else str(source)
