"""Train one client on this device. `start` runs this module in a process of its own.

The server sends both with the modules that they import. The result is written beside the files of the job.
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
from edgeproof.devices.clients.job_files import RESIDUAL, RESULT, WEIGHTS, JobSpec
from edgeproof.federated.client import ClientJob, train_client
from edgeproof.models.layer_sizes import resize_layers
from edgeproof.models.task_functions import build_functions
from edgeproof.models.training_task import Array, TrainingTask
from edgeproof.statistics.metric import Metric


def main() -> None:
    """Train the client of the job in the directory that the command names."""
    os.environ.pop("EDGEPROOF_PLUGINS", None)  # the plugins are in this program
    folder, digest = Path(sys.argv[1]), sys.argv[2]
    spec = job_files.read_job_spec(folder, digest)
    settings = job_files.restore_settings(spec.settings)
    residual = np.frombuffer((folder / RESIDUAL).read_bytes(), "<f4") if RESIDUAL in spec.files else None
    job = ClientJob(
        spec.client, spec.round_number, build_task(spec, folder.parent), (folder / WEIGHTS).read_bytes(), residual
    )
    result = train_client(build_module(spec, folder.parent), job, settings)
    job_files.write_result(result, folder / RESULT)


def build_module(spec: JobSpec, store: Path) -> nn.Module:
    """Build the network with the sizes and the constant tensors of the server's. The job brings the other tensors."""
    network = spec.network
    inputs, outputs = (tuple(Port.from_json(port) for port in network[key]) for key in ("inputs", "outputs"))
    module: nn.Module = plugins.load("networks", network["name"]).build(inputs, outputs, **network["options"])
    tensors = {name: torch.empty(shape, dtype=getattr(torch, dtype)) for name, (dtype, shape) in spec.tensors.items()}
    resize_layers(module, tensors)
    constants = job_files.read_arrays(store / job_files.name_stored(spec.constants))
    module.load_state_dict({**tensors, **{name: torch.from_numpy(array) for name, array in constants.items()}})
    return module


def build_task(spec: JobSpec, store: Path) -> TrainingTask:
    """Return the task with the client's samples as its training split and without any other samples."""
    plugin = load_plugin(spec)
    train = job_files.read_split(store / job_files.name_stored(spec.samples))
    return TrainingTask(
        name=spec.task,
        inputs=plugin.INPUTS,
        outputs=plugin.OUTPUTS,
        train=train,
        validation=train.select(slice(0, 0)),
        metric=Metric("not measured"),
        measure=refuse_to_measure,
        seed=spec.settings["seed"],
        threads=spec.settings["threads"],
        from_parent=spec.from_parent,
        **build_functions(plugin),
    )


def load_plugin(spec: JobSpec) -> Any:
    """Return the task of the job: what its description says, or else the task's file in this program."""
    if spec.description is None:
        return plugins.load("tasks", spec.task)
    return make_task(TaskDescription.from_json(spec.description))


def refuse_to_measure(inputs: tuple[Array, ...], outputs: tuple[Array, ...], targets: Array) -> float:
    """Raise NotImplementedError: a client trains only."""
    raise NotImplementedError("a client trains only; the server measures")
