"""Build one model of the study: load its parent or an untrained network, apply its method, save it with its lineage."""

from __future__ import annotations

import difflib
import inspect
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeproof.config import packages
from edgeproof.config.params import ModelParams, Params
from edgeproof.config.validation import validate
from edgeproof.core import plugins
from edgeproof.core.directories import content_sha256, read_meta, write_atomically
from edgeproof.core.errors import ConfigError
from edgeproof.models import frameworks, memory_allocator, model_files, qat, task_loading
from edgeproof.models.layer_outputs import UnknownLayerError
from edgeproof.models.network_check import build_checked
from edgeproof.models.training_task import TrainingTask
from edgeproof.paths import DATA, MODELS, locate_model


def build(name: str, params: Params) -> None:
    """Build the model `name` of the study from each of its seeds and write models/<name>.

    Raises ConfigError for an unknown option, a missing package, or a parent that cannot have children.
    """
    item = params.find_model(name)
    packages.require(item.packages)
    memory_allocator.keep_freed_memory()
    method = plugins.load("methods", item.method)
    options = validate(method.Options, item.options, f"params.yaml, options of '{name}'").model_dump()
    with write_atomically(MODELS / name) as out:
        for seed in item.seeds:
            directory = out / locate_model(name, item.seeds, seed).relative_to(MODELS / name)
            _build_from_seed(name, params, method, options, seed, directory)


def _build_from_seed(
    name: str, params: Params, method: Any, options: dict[str, Any], seed: int, directory: Path
) -> None:
    item = params.find_model(name)
    frameworks.make_deterministic(item.network, seed, item.threads)
    task = task_loading.load_training_task(params.task.name, seed, item.threads, from_parent=item.parent is not None)
    facts: dict[str, Any] = {}
    module, spec = _load_start(item, task)
    task = replace(task, report=facts.__setitem__, network=spec.to_meta())
    teachers = _load_teachers(method, item, seed)
    try:
        trained = method.apply(module, task, **teachers, **options)
    except UnknownLayerError as error:
        raise ConfigError(_explain_unknown_layer(error, name, params)) from None
    quality = frameworks.measure_quality(trained, task)
    description = {**facts, **_describe_model(name, item, params, seed, quality)}
    meta = model_files.save(trained, spec, description, directory)
    print(
        f"  {name}: seed {seed}, validation {task.metric.label} {task.metric.format(quality)}, "
        f"{meta['parameters']:,} parameters, {meta['macs']:,} MACs",
        file=sys.stderr,
    )
    if hasattr(method, "FILE_OPTION") and not task.metric.meets(quality, params.task.quality_target):
        print(f"  {_explain_low_quality(name, params, task, quality)}", file=sys.stderr)


def _explain_low_quality(name: str, params: Params, task: TrainingTask, quality: float) -> str:
    """Return a note for a brought model that does worse than the task's target, before anything is built on it."""
    metric, target = task.metric, params.task.quality_target
    return (
        f"note: {name} has a validation {metric.label} of {metric.format(quality)}, and the task's target is "
        f"{metric.format(target)}. If it did better where it was trained, the inputs differ: compare their scale and "
        f"layout, and the order of the classes, with those of task '{params.task.name}'."
    )


def _explain_unknown_layer(error: UnknownLayerError, name: str, params: Params) -> str:
    """Return the message for a layer that is missing: the options that name it, the files that set them, the layers."""
    item = params.find_model(name)
    keys = [
        key for key, value in item.options.items() if error.layer in (value if isinstance(value, list) else [value])
    ]
    options = " or ".join(f"models.{name}.options.{key}" for key in keys)
    nearest = difflib.get_close_matches(error.layer, error.layers)
    return (
        f"the network has no layer '{error.layer}'. Change {options or f'the options of {name}'} in "
        f"conf/study/{params.study}.yaml (default in conf/methods/{item.method}.yaml). "
        f"Nearest: {', '.join(nearest) or 'none'}. All layers: {', '.join(error.layers)}."
    )


def _load_start(item: ModelParams, task: TrainingTask) -> tuple[Any, model_files.NetworkSpec]:
    """Return the module that the method starts from: the parent, or the network with random weights."""
    if item.parent is not None:
        module, spec, _ = model_files.load(locate_model(item.parent, item.seeds, task.seed))
        if isinstance(module, qat.FakeQuantizedModule):
            raise ConfigError(
                f"'{item.parent}' can't be a parent: it was trained with fake quantization for {module.runtime}, "
                "which must be the last method of a model. Choose another parent in the study."
            )
        return module, spec
    spec = model_files.NetworkSpec(item.network, item.network_options, task.inputs, task.outputs)
    return build_checked(spec), spec


def _load_teachers(method: Any, item: ModelParams, seed: int) -> dict[str, Any]:
    """Return the keyword argument for the method's teachers: `teachers` with a list, or `teacher` with one module."""
    loaded = [model_files.load(locate_model(teacher, item.seeds, seed))[0] for teacher in item.teachers]
    if "teachers" in inspect.signature(method.apply).parameters:
        return {"teachers": loaded}
    return {"teacher": loaded[0]} if loaded else {}


def _describe_model(name: str, item: ModelParams, params: Params, seed: int, quality: float) -> dict[str, Any]:
    """Return the entries of meta.json that say how the model was made."""
    sources = [("parent", item.parent)] if item.parent else []
    sources += [(f"teacher_{n}" if n > 1 else "teacher", teacher) for n, teacher in enumerate(item.teachers, 1)]
    lineage = {
        role: _describe_ancestor(source, read_meta(locate_model(source, item.seeds, seed), verify=False))
        for role, source in sources
    }
    return {
        "name": name,
        "study": params.study,
        "task": params.task.name,
        "data_sha256": content_sha256(read_meta(DATA / params.task.name / "build", verify=False)),
        "method": item.method,
        "options": item.options,
        "lineage": lineage,
        "seed": seed,
        "threads": item.threads,
        "packages": item.packages,
        "validation_quality": quality,
    }


def _describe_ancestor(name: str, meta: dict[str, Any]) -> dict[str, Any]:
    """Return a parent's or teacher's entry in the lineage: its hash and how it was made, back to the data."""
    entries = ("method", "options", "network", "seed", "validation_quality", "lineage")
    return {"name": name, "sha256": content_sha256(meta), **{key: meta[key] for key in entries if key in meta}}
