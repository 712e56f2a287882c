"""Federations whose network and task have files, so that devices can build them, and devices that train them."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from edgeproof.core import plugins
from edgeproof.federated import partitions, workers
from edgeproof.federated.checkpoints import Checkpoints
from edgeproof.federated.history import Round
from edgeproof.federated.rounds import Federation, run_rounds
from edgeproof.models.model_files import NetworkSpec
from edgeproof.models.task_functions import build_functions
from tests.support.federations import make_settings
from tests.support.training_tasks import make_training_task

SAMPLES = 30


def make_device_federation(clients: int = 3, *, from_parent: bool = False, **changes: Any) -> Federation:
    """Return a federation of random digits and a small network with convolutions and batch normalization.

    A module from a parent has fewer channels than its network, and weights of zero.
    """
    plugin = plugins.load("tasks", "digits")
    spec = NetworkSpec("resnet8", {"widths": [4, 6], "stem_stride": 1}, plugin.INPUTS, plugin.OUTPUTS)
    torch.manual_seed(3)
    module = spec.build()
    if from_parent:
        spec = replace(spec, options={"widths": [8, 8], "stem_stride": 1})
        module.classifier.weight.data[:, ::2] = 0
    x = torch.rand(SAMPLES, *plugin.INPUTS[0].shape, generator=torch.Generator().manual_seed(7)) * 2 - 1
    y = torch.arange(SAMPLES) % plugin.OUTPUTS[0].size
    task = make_training_task(x, y, plugin.OUTPUTS[0].size, name="digits", network=spec.to_meta())
    shares = partitions.split_iid(SAMPLES, clients, np.random.default_rng(0))
    settings = make_settings(**{"rounds": 2, **changes})
    task = replace(task, from_parent=from_parent, **build_functions(plugin))
    return Federation(module, task, shares, settings)


def run_on_devices(
    names: str, federation: Federation, checkpoints: Checkpoints | None = None
) -> tuple[tuple[Round, ...], list[str]]:
    """Run a federation on devices; return its history and the notes to the user."""
    notes: list[str] = []
    with workers.open_workers(notes.append, {workers.DEVICES: names}) as run_clients:
        history = run_rounds(federation, run_clients, checkpoints or Checkpoints(None))
    return history, notes


def write_card(name: str, transport: str = "local", **entries: Any) -> None:
    """Write the card of a device that uses this interpreter, unless `entries` names another one."""
    card = {"transport": transport, "threads": 1, "python": sys.executable, **entries}
    path = Path("devices", f"{name}.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(card))


def write_interpreter(path: Path, *, before: str = ":", after: str = ":", modules: dict[str, str] | None = None) -> str:
    """Write an interpreter that runs shell commands before and after it trains a client, and return its path.

    The commands find the job's directory as $job. `modules` are files that replace modules of the same name.
    """
    shadow = path.with_name(f"{path.name}_modules")
    shadow.mkdir()
    for name, text in (modules or {}).items():
        (shadow / f"{name}.py").write_text(text)
    path.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(shadow))}\njob=$3\n"
        f'[ "$2" != -c ] || exec {sys.executable} "$@"\n{before}\n{sys.executable} "$@" || exit\n{after}\n'
    )
    path.chmod(0o755)
    return str(path)
