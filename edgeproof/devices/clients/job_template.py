"""The part of a job that all clients of a round share: how a device builds the server's module."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from edgeproof.core import plugins
from edgeproof.core.described_tasks import find_description
from edgeproof.core.errors import ConfigError
from edgeproof.devices import imports, runner_zipapp
from edgeproof.devices.clients import job_files
from edgeproof.devices.clients.job_files import JobSpec
from edgeproof.federated.client import ClientJob
from edgeproof.federated.settings import Settings
from edgeproof.federated.weights import Layout
from edgeproof.models.training_task import TrainingTask
from edgeproof.paths import DATA

_ENTRY = "edgeproof.devices.clients.start"


@dataclass(frozen=True)
class JobTemplate:
    """Everything that all clients of a round share.

    Attributes:
        program: the zipapp that trains a client.
        network: the entry of meta.json that says how the module is built.
        layout: the names and shapes of the tensors that are exchanged.
        tensors: the dtype and the shape of every tensor.
        constants: the tensors that are not exchanged, as an .npz file.
        description: the content of the task's task.json, or None for a task with a file of its own.
    """

    program: Path
    network: Mapping[str, Any]
    layout: Layout
    tensors: Mapping[str, tuple[str, list[int]]]
    constants: bytes
    description: Mapping[str, Any] | None

    @property
    def max_update_bytes(self) -> int:
        """An upper bound of the size of a client's message: top-k may send a position and a value for each entry."""
        return 1024 + 8 * self.layout.parameter_count + 4 * self.layout.statistic_count

    def make_job_spec(self, job: ClientJob, settings: Settings, samples: str, constants: str) -> JobSpec:
        """Return the description of a job, given the sha256 of the two files beside it."""
        return JobSpec(
            client=job.client,
            round_number=job.round_number,
            settings=asdict(settings),
            network=self.network,
            tensors=self.tensors,
            task=job.task.name,
            description=self.description,
            from_parent=job.task.from_parent,
            files={name: job_files.hash_bytes(content) for name, content in job_files.list_contents(job).items()},
            samples=samples,
            constants=constants,
        )


def make_job_template(module: nn.Module, task: TrainingTask, directory: Path) -> JobTemplate:
    """Return the job template of a module, with its program in `directory`.

    Raises ConfigError for a module that no network of the study builds.
    """
    if task.network is None:
        raise ConfigError("clients can't train on devices: the module is not built by a network in edgeproof/networks.")
    layout = Layout.read(module)
    exchanged = {name for name, _ in (*layout.parameters, *layout.statistics)}
    state = module.state_dict()
    constants = {name: tensor.numpy() for name, tensor in state.items() if name not in exchanged}
    path = find_description(DATA / task.name)
    return JobTemplate(
        program=pack_program(task.network["name"], None if path else task.name, directory),
        network=task.network,
        layout=layout,
        tensors={
            name: (str(tensor.dtype).removeprefix("torch."), list(tensor.shape)) for name, tensor in state.items()
        },
        constants=job_files.pack_arrays(constants),
        description=None if path is None else json.loads(path.read_text(encoding="utf-8")),
    )


@functools.cache
def pack_program(network: str, task: str | None, directory: Path) -> Path:
    """Write the program with a network and, unless it is None, the task's file. Return its path."""
    chosen = [("networks", network), *([] if task is None else [("tasks", task)])]
    files = imports.read_program(
        _ENTRY, {f"edgeproof.{kind}.{name}": plugins.find_source(kind, name) for kind, name in chosen}
    )
    return runner_zipapp.write_program("clients", files, directory)
