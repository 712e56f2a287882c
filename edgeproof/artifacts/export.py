"""Export of a study's model for one runtime in every scheme, to artifacts/<runtime>/<model>/<scheme>."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from edgeproof.artifacts import conversion, stripping
from edgeproof.config import runtime_extras
from edgeproof.config.params import ExportParams
from edgeproof.core import described_tasks, layouts, plugins
from edgeproof.core.artifacts import ExportResult
from edgeproof.core.directories import META, content_sha256, read_meta, write_atomically, write_meta
from edgeproof.core.errors import ConfigError, Unsupported
from edgeproof.core.ports import Port
from edgeproof.data import preparation
from edgeproof.models import frameworks, model_files, training
from edgeproof.models.model_files import NetworkSpec
from edgeproof.paths import ARTIFACTS, DATA, locate_model, name_artifact

# Facts that are copied from the meta.json of a model into the meta.json of its artifacts.
MODEL_FACTS = (
    "name",
    "task",
    "method",
    "options",
    "lineage",
    "seed",
    "parameters",
    "macs",
    "weight_sparsity",
    "entropy_coded_bytes",
    "validation_quality",
    "network",
    "data_sha256",
)
# Facts that only some methods report.
OPTIONAL_FACTS = ("federated",)

Array = np.ndarray[Any, Any]


def export(item: ExportParams, task: str) -> None:
    """Export a model in this process and write artifacts/<runtime>/<model>. See export_schemes()."""
    refusals = runtime_extras.refuse_artifacts(item)
    with write_atomically(ARTIFACTS / item.runtime / item.model) as out:
        export_schemes(item, task, out, refusals)


def export_schemes(item: ExportParams, task: str, out: Path, refusals: Mapping[str, str]) -> None:
    """Export a model to a directory in `out` for each scheme and seed. A finished directory is left as it is.

    A scheme that the runtime does not support gets a meta.json with the reason. `refusals` maps the names of
    directories to the reasons why they can't be exported. Raises ConfigError for calibration samples that do
    not fit the model, EdgeproofError when a converter fails.
    """
    runtime = plugins.load("runtimes", item.runtime)
    for seed in item.seeds:
        model_dir = locate_model(item.model, item.seeds, seed)
        frameworks.make_deterministic(read_meta(model_dir)["network"]["name"], seed, item.threads)
        module, network, model_meta = model_files.load(model_dir)
        training.make_deterministic(seed, item.threads)  # again, because building the module drew random numbers
        samples = _load_calibration(task, network.inputs)
        for scheme in item.schemes:
            directory = out / name_artifact(scheme, item.seeds, seed)
            if (directory / META).exists():
                continue
            started = time.monotonic()
            directory.mkdir(exist_ok=True)
            if directory.name in refusals:
                outcome: ExportResult | Unsupported = Unsupported(refusals[directory.name])
            else:
                outcome = conversion.run_converter(
                    f"exporting '{item.model}' to {item.runtime} as {scheme}",
                    functools.partial(_convert, runtime, module, samples, scheme, directory, item),
                )
            meta = {
                **_finish_artifact(directory, module, network, samples, outcome, task),
                **_describe_origin(item, scheme, model_meta),
            }
            write_meta(directory, meta)
            seconds = time.monotonic() - started
            conversion.print_outcome(item.model, item.runtime, directory.name, meta, seconds)


def _load_calibration(task: str, inputs: Sequence[Port]) -> tuple[Array, ...]:
    """Load a task's calibration samples. Raises ConfigError if a runtime's calibrator could not use them."""
    samples = preparation.load_calibration(task)
    advice = f"See preprocess() of the task '{task}' and the data it reads."
    if len(samples) != len(inputs):
        raise ConfigError(f"the task gives {len(samples)} inputs and the model takes {len(inputs)}. {advice}")
    for port, array in zip(inputs, samples, strict=True):
        if len(array) == 0 or array.dtype.name != port.dtype or array.shape[1:] != port.shape:
            expected = ", ".join(["N", *map(str, port.shape)])
            raise ConfigError(
                f"the calibration samples of '{port.name}' are {array.dtype} of shape {array.shape}, and the model "
                f"takes {port.dtype} of shape ({expected}). {advice}"
            )
        damaged = np.flatnonzero(~np.isfinite(array).all(axis=tuple(range(1, array.ndim))))
        if len(damaged):
            raise ConfigError(
                f"{len(damaged)} of {len(array)} calibration samples of '{port.name}' hold NaN or infinity. The first "
                f"one is number {damaged[0]}. {advice}"
            )
    return samples


def _convert(
    runtime: ModuleType, module: Any, samples: tuple[Array, ...], scheme: str, out: Path, item: ExportParams
) -> ExportResult:
    if isinstance(module, torch.nn.Module):
        result = conversion.export_module(item.runtime, module, samples, scheme, out)
    else:
        from edgeproof.models import keras_models  # imports TensorFlow, which takes seconds

        result = keras_models.export(runtime, module, samples, scheme, out)
        samples = layouts.move_channels_last(samples)
    return stripping.strip(runtime, result, out, samples, item.threads) if item.strip else result


def _finish_artifact(
    directory: Path,
    module: Any,
    network: NetworkSpec,
    samples: tuple[Array, ...],
    outcome: ExportResult | Unsupported,
    task: str,
) -> dict[str, Any]:
    """Describe the exported files, then write some samples and the model's own outputs for them beside the files.

    The description of a task of the user's own data is added, so that a bundle can preprocess inputs.
    """
    facts = conversion.describe_files(directory, outcome)
    if isinstance(outcome, Unsupported):
        return facts
    stored = tuple(array[: conversion.STORED_SAMPLES] for array in samples)
    expected = frameworks.predict(module, stored)
    outputs = [replace(port, shape=array.shape[1:]) for port, array in zip(network.outputs, expected, strict=True)]
    inputs, layout = list(network.inputs), {}
    if not isinstance(module, torch.nn.Module):
        stored, layout = layouts.move_channels_last(stored), {layouts.LAYOUT: layouts.CHANNELS_LAST}
        inputs = [replace(port, shape=array.shape[1:]) for port, array in zip(inputs, stored, strict=True)]
    conversion.save_arrays(directory, "samples", stored)
    conversion.save_arrays(directory, "expected", expected)
    if (description := described_tasks.find_description(DATA / task)) is not None:
        shutil.copyfile(description, directory / described_tasks.FILE)
    ports = {"inputs": [port.to_json() for port in inputs], "outputs": [port.to_json() for port in outputs]}
    return {**facts, **layout, **ports}


def _describe_origin(item: ExportParams, scheme: str, model_meta: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of an artifact's meta.json about its runtime, scheme, model and packages."""
    names = [*MODEL_FACTS, *(name for name in OPTIONAL_FACTS if name in model_meta)]
    return {
        "runtime": item.runtime,
        "scheme": scheme,
        "model": {**{key: model_meta[key] for key in names}, "sha256": content_sha256(model_meta)},
        "packages": item.packages,
    }
