"""Train one client on this device. `start` runs this module in a process of its own.

The server sends both with the modules that they import. The answer is written beside the files of the job.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeproof.core import plugins
from edgeproof.core.described_tasks import TaskDescription, make_task
from edgeproof.core.ports import Port
from edgeproof.devices.clients import job_files
from edgeproof.devices.clients.job_files import ANSWER, RESIDUAL, WEIGHTS, Order
from edgeproof.federated.client import ClientJob, train_client
from edgeproof.models.layer_sizes import resize_layers
from edgeproof.models.task_functions import build_functions
from edgeproof.models.training_task import Array, TrainingTask
from edgeproof.statistics.metric import Metric


def main() -> None:
    """Train the client of the job in the directory that the command names."""
    os.environ.pop("EDGEPROOF_PLUGINS", None)  # the plugins are in this program
    folder, digest = Path(sys.argv[1]), sys.argv[2]
    order = job_files.read_order(folder, digest)
    settings = job_files.restore_settings(order.settings)
    residual = np.frombuffer((folder / RESIDUAL).read_bytes(), "<f4") if RESIDUAL in order.files else None
    job = ClientJob(
        order.client, order.round_number, build_task(order, folder.parent), (folder / WEIGHTS).read_bytes(), residual
    )
    answer = train_client(build_module(order, folder.parent), job, settings)
    job_files.write_answer(answer, folder / ANSWER)


def build_module(order: Order, store: Path) -> nn.Module:
    """Build the network with the sizes and the constant tensors of the server's. The job brings the other tensors."""
    network = order.network
    inputs, outputs = (tuple(Port.from_json(port) for port in network[key]) for key in ("inputs", "outputs"))
    module: nn.Module = plugins.load("networks", network["name"]).build(inputs, outputs, **network["options"])
    tensors = {name: torch.empty(shape, dtype=getattr(torch, dtype)) for name, (dtype, shape) in order.tensors.items()}
    resize_layers(module, tensors)
    constants = job_files.read_arrays(store / job_files.name_stored(order.constants))
    module.load_state_dict({**tensors, **{name: torch.from_numpy(array) for name, array in constants.items()}})
    return module


def build_task(order: Order, store: Path) -> TrainingTask:
    """Return the task with the client's samples as its training split and without any other samples."""
    plugin = load_plugin(order)
    train = job_files.read_split(store / job_files.name_stored(order.samples))
    return TrainingTask(
        name=order.task,
        inputs=plugin.INPUTS,
        outputs=plugin.OUTPUTS,
        train=train,
        validation=train.select(slice(0, 0)),
        metric=Metric("not measured"),
        measure=refuse_to_measure,
        seed=order.settings["seed"],
        threads=order.settings["threads"],
        from_parent=order.from_parent,
        **build_functions(plugin),
    )


def load_plugin(order: Order) -> Any:
    """Return the task of the order: what its description says, or else the task's file in this program."""
    if order.description is None:
        return plugins.load("tasks", order.task)
    return make_task(TaskDescription.from_json(order.description))


def refuse_to_measure(inputs: tuple[Array, ...], outputs: tuple[Array, ...], targets: Array) -> float:
    """Raise NotImplementedError: a client trains only."""
    raise NotImplementedError("a client trains only; the server measures")
