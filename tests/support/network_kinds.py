"""Inputs, outputs and random tasks for tests of networks, by the KIND that a network declares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from edgeproof.core import plugins
from edgeproof.core.ports import Port
from edgeproof.models.training_task import Batch, Inputs, Split, TrainingTask
from edgeproof.statistics.metric import Metric
from tests.support.training_tasks import Ports, make_ports, make_training_task

CLASSES = 10
# Token numbers of random texts are below this.
VOCABULARY = 8

Interface = tuple[Ports, Ports]
ERROR = Metric("squared error", better="less")


@dataclass(frozen=True)
class NetworkKind:
    """Interfaces (inputs, outputs) of tests for one kind of network.

    Attributes:
        tiny: for tests that train or prune.
        tiniest: for tests of runtimes.
        sizes: interfaces for which a network's default options work.
        make_task: makes a training task from an interface, random inputs and no labels.
    """

    tiny: Interface
    tiniest: Interface
    sizes: tuple[Interface, ...]
    make_task: Callable[[Interface, Inputs], TrainingTask]


def find_kind(network: str) -> NetworkKind:
    """Return the entry of the table for the kind that a network declares."""
    kind = plugins.load("networks", network).KIND
    assert kind in KINDS, f"network '{network}' has the KIND '{kind}'. Add it to KINDS in {__file__}."
    return KINDS[kind]


def make_random_task(network: str, interface: Interface | None = None, samples: int = 24) -> TrainingTask:
    """Make a task of random inputs for a network, by default of the tiny size of its kind."""
    kind = find_kind(network)
    interface = interface or kind.tiny
    return kind.make_task(interface, draw_inputs(interface[0], samples))


def draw_inputs(ports: Ports, samples: int) -> Inputs:
    """Return random samples of each input. Integers are token numbers."""
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randint(VOCABULARY, (samples, *port.shape), generator=generator, dtype=getattr(torch, port.dtype))
        if port.is_integer
        else torch.randn(samples, *port.shape, generator=generator)
        for port in ports
    )


def _make_classification(interface: Interface, inputs: Inputs) -> TrainingTask:
    """Make a task with the labels 0, 1, …, 9, 0, …"""
    (output,) = interface[1]
    labels = torch.arange(len(inputs[0])) % output.size
    return make_training_task(inputs, labels, output.size, name="random", inputs=interface[0], outputs=interface[1])


def make_reconstruction(interface: Interface, inputs: Inputs) -> TrainingTask:
    """Make a task whose loss is the squared difference of the output and the input, as an autoencoder's."""

    def loss(outputs: Any, batch: Batch) -> torch.Tensor:
        return functional.mse_loss(outputs.flatten(1), batch.inputs[0].flatten(1))

    return _make_task_with_loss(interface, inputs, loss)


def _make_shrinking(interface: Interface, inputs: Inputs) -> TrainingTask:
    """Make a task whose loss is the sum of the mean squares of all outputs. It suits any network."""

    def loss(outputs: Any, batch: Batch) -> torch.Tensor:
        tensors = outputs if isinstance(outputs, tuple) else (outputs,)
        return torch.stack([tensor.square().mean() for tensor in tensors]).sum()

    return _make_task_with_loss(interface, inputs, loss)


def _make_task_with_loss(
    interface: Interface, inputs: Inputs, loss: Callable[[Any, Batch], torch.Tensor]
) -> TrainingTask:
    """Make a task that is no classification. Its quality is its loss, and its targets are not used."""

    def measure(arrays: tuple[np.ndarray, ...], outputs: tuple[np.ndarray, ...], targets: np.ndarray) -> float:
        tensors = tuple(map(torch.from_numpy, outputs))
        batch = Batch(tuple(map(torch.from_numpy, arrays)), torch.from_numpy(targets), torch.empty(0), torch.empty(0))
        return float(loss(tensors if len(tensors) > 1 else tensors[0], batch))

    split = Split(inputs, torch.zeros(len(inputs[0])))
    fields = {"inputs": interface[0], "outputs": interface[1], "train": split, "validation": split}
    kind = {"metric": ERROR, "measure": measure, "loss": loss, "is_classification": False}
    return make_training_task(inputs, split.targets, 1, name="random", **fields | kind)


def _make_signal_ports(shape: tuple[int, ...], classes: int) -> Interface:
    return (Port("signal", shape),), (Port("logits", (classes,)),)


def _make_text_ports(length: int, classes: int) -> Interface:
    return (Port("tokens", (length,), "int64"),), (Port("logits", (classes,)),)


def make_autoencoder_ports(*shape: int) -> Interface:
    """Return the ports of a network that reproduces its input."""
    return (Port("features", shape),), (Port("reconstruction", shape),)


def _make_regression_ports(features: int, values: int) -> Interface:
    return (Port("features", (features,)),), (Port("values", (values,)),)


def _make_detector_ports(side: int, sizes: Sequence[int]) -> Interface:
    """Return the ports of a detector of three classes: an image, then scores and distances for each scale."""
    scales = [(Port(f"scores_{n}", (3, n, n)), Port(f"distances_{n}", (4, n, n))) for n in sizes]
    return (Port("image", (3, side, side)),), tuple(port for scale in scales for port in scale)


KINDS = {
    "image_classifier": NetworkKind(
        tiny=make_ports((1, 8, 8), CLASSES),
        tiniest=make_ports((1, 4, 4), CLASSES),
        sizes=(make_ports((1, 28, 28), 7), make_ports((1, 8, 8), 7), make_ports((3, 12, 8), 7)),
        make_task=_make_classification,
    ),
    "sequence_classifier": NetworkKind(
        tiny=_make_signal_ports((3, 16), CLASSES),
        tiniest=_make_signal_ports((2, 8), CLASSES),
        sizes=(_make_signal_ports((9, 128), 6), _make_signal_ports((1, 5), 2)),
        make_task=_make_classification,
    ),
    "spectrogram_classifier": NetworkKind(
        tiny=_make_signal_ports((1, 16, 3), CLASSES),
        tiniest=_make_signal_ports((1, 8, 2), CLASSES),
        sizes=tuple(_make_signal_ports(shape, 6) for shape in ((1, 49, 10), (9, 128), (2, 5, 1), (3, 8, 4))),
        make_task=_make_classification,
    ),
    "text_classifier": NetworkKind(
        tiny=_make_text_ports(12, CLASSES),
        tiniest=_make_text_ports(6, CLASSES),
        sizes=(_make_text_ports(64, 2), _make_text_ports(5, 4)),
        make_task=_make_classification,
    ),
    "autoencoder": NetworkKind(
        tiny=make_autoencoder_ports(24),
        tiniest=make_autoencoder_ports(12),
        sizes=(make_autoencoder_ports(640), make_autoencoder_ports(9)),
        make_task=make_reconstruction,
    ),
    "regressor": NetworkKind(
        tiny=_make_regression_ports(12, 2),
        tiniest=_make_regression_ports(6, 1),
        sizes=(_make_regression_ports(10, 1), _make_regression_ports(40, 3)),
        make_task=_make_shrinking,
    ),
    "detector": NetworkKind(
        tiny=_make_detector_ports(16, [4, 2]),
        tiniest=_make_detector_ports(16, [4]),
        sizes=(_make_detector_ports(64, [16, 8, 4]), _make_detector_ports(32, [4])),
        make_task=_make_shrinking,
    ),
}
