"""Build one model of the study: load what it starts from, apply its method, save it with its lineage."""

from __future__ import annotations

import sys
from typing import Any

import torch

from . import dataset, models, packages, training
from .core import plugins
from .core.directories import identity, read_meta
from .params import ModelParams, Params, checked
from .paths import DATA, MODELS


def build(name: str, params: Params) -> None:
    """Make the model `name` of the study and write models/<name>."""
    item = params.model(name)
    packages.require(item.packages)
    method = plugins.load("methods", item.method)
    options = checked(method.Options, item.options, f"params.yaml, options of '{name}'")
    training.deterministic(item.seed, item.threads)
    task = training_task(params.task.name, item.seed, item.threads)
    module, spec = _start(item, task)
    extra = {"teacher": models.load(MODELS / item.teacher)[0]} if item.teacher else {}
    trained = method.apply(module, task, **extra, **options.model_dump())
    accuracy = training.accuracy_of(trained, task.validation_x, task.validation_y)
    meta = models.save(trained, spec, _meta(name, item, params, accuracy), MODELS / name)
    print(
        f"  {name}: validation accuracy {accuracy:.2%}, {meta['parameters']:,} parameters, {meta['macs']:,} MACs",
        file=sys.stderr,
    )


def training_task(name: str, seed: int, threads: int) -> training.TrainingTask:
    """Load what a method may see of a task."""
    plugin = plugins.load("tasks", name)
    train_x, train_y = dataset.load(name, "train")
    validation_x, validation_y = dataset.load(name, "validation")
    return training.TrainingTask(
        name=name,
        input_shape=plugin.INPUT_SHAPE,
        classes=plugin.CLASSES,
        train_x=torch.from_numpy(train_x),
        train_y=torch.from_numpy(train_y),
        validation_x=torch.from_numpy(validation_x),
        validation_y=torch.from_numpy(validation_y),
        views=plugin.VIEWS,
        view=plugin.view,
        seed=seed,
        threads=threads,
    )


def _start(item: ModelParams, task: training.TrainingTask) -> tuple[torch.nn.Module, models.NetworkSpec]:
    if item.parent is not None:
        module, spec, _ = models.load(MODELS / item.parent)
        return module, spec
    spec = models.NetworkSpec(item.network, item.network_options, task.input_shape, task.classes)
    return spec.build(), spec


def _meta(name: str, item: ModelParams, params: Params, accuracy: float) -> dict[str, Any]:
    lineage = {
        role: {"name": source, "sha256": identity(read_meta(MODELS / source, verify=False))}
        for role, source in (("parent", item.parent), ("teacher", item.teacher))
        if source is not None
    }
    return {
        "name": name,
        "study": params.study,
        "task": params.task.name,
        "data_sha256": identity(read_meta(DATA / params.task.name / "build", verify=False)),
        "method": item.method,
        "options": item.options,
        "lineage": lineage,
        "seed": item.seed,
        "threads": item.threads,
        "packages": item.packages,
        "validation_accuracy": accuracy,
    }
