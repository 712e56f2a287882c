"""The federation that both apps run: that of a study's model, or what a function returns.

The key `federation` of the run's configuration is the name of a model in params.yaml, or 'module:function'. A client
uses its own share alone; in a simulation every node reads the same data and takes its part.
"""

from __future__ import annotations

import functools
import importlib
import os
from pathlib import Path

from edgeproof.core import plugins
from edgeproof.federated.rounds import Federation


def load(federation: str, project: str) -> Federation:
    """Return the federation of this name, with paths relative to the directory `project`."""
    return _load(federation, str(Path(project).expanduser()))


@functools.lru_cache(maxsize=1)
def _load(federation: str, project: str) -> Federation:
    os.chdir(project)
    if ":" in federation:
        module, _, function = federation.partition(":")
        result: Federation = getattr(importlib.import_module(module), function)()
        return result
    return _load_study_model(federation)


def _load_study_model(name: str) -> Federation:
    """Return the federation of a model in params.yaml, with the same start as in `dvc repro`."""
    from edgeproof.config import params_file
    from edgeproof.methods import federate
    from edgeproof.models import task_loading, training

    params = params_file.read_params()
    item = params.find_model(name)
    if item.method != "federate" or item.parent is not None:
        raise SystemExit(f"error: '{name}' is no model of the method federate that starts from a network.")
    seed = item.seeds[0]
    training.make_deterministic(seed, item.threads)
    task = task_loading.load_training_task(params.task.name, seed, item.threads)
    module = plugins.load("networks", item.network).build(task.inputs, task.outputs, **item.network_options)
    federation, _ = federate.make_federation(module, task, federate.Options.model_validate(item.options))
    return federation
