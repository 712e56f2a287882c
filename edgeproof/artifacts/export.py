"""Export of a study's model for one runtime in every scheme, to artifacts/<runtime>/<model>/<scheme>."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from edgeproof.artifacts import conversion
from edgeproof.config import packages
from edgeproof.config.params import ExportParams
from edgeproof.core import plugins
from edgeproof.core.artifacts import ExportResult
from edgeproof.core.directories import content_sha256, read_meta, write_atomically, write_meta
from edgeproof.core.errors import ConfigError, Unsupported
from edgeproof.data import layouts, preparation
from edgeproof.models import frameworks, model_files, training
from edgeproof.paths import ARTIFACTS, locate_model, name_artifact

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
    "validation_accuracy",
    "network",
    "data_sha256",
)

Array = np.ndarray[Any, Any]


def export(item: ExportParams, task: str) -> None:
    """Export a model and write artifacts/<runtime>/<model>, with one directory for each scheme and seed.

    A scheme that the runtime does not support gets a meta.json with the reason. Raises ConfigError for calibration
    samples that do not fit the model, EdgeproofError when a converter fails.
    """
    packages.require(item.packages)
    runtime = plugins.load("runtimes", item.runtime)
    with write_atomically(ARTIFACTS / item.runtime / item.model) as out:
        for seed in item.seeds:
            model_dir = locate_model(item.model, item.seeds, seed)
            frameworks.make_deterministic(read_meta(model_dir)["network"]["name"], seed, item.threads)
            module, network, model_meta = model_files.load(model_dir)
            training.make_deterministic(seed, item.threads)  # again, because building the module drew random numbers
            samples = _load_calibration(task, network.input_shape)
            for scheme in item.schemes:
                started = time.monotonic()
                directory = out / name_artifact(scheme, item.seeds, seed)
                directory.mkdir()
                outcome = conversion.run_converter(
                    f"exporting '{item.model}' to {item.runtime} as {scheme}",
                    functools.partial(_convert, runtime, module, samples, scheme, directory),
                )
                meta = {
                    **_finish_artifact(directory, module, samples, outcome),
                    **_describe_origin(item, scheme, model_meta),
                }
                write_meta(directory, meta)
                seconds = time.monotonic() - started
                conversion.print_outcome(item.model, item.runtime, directory.name, meta, seconds)


def _load_calibration(task: str, input_shape: Sequence[int]) -> Array:
    """Load a task's calibration samples. Raises ConfigError if a runtime's calibrator could not use them."""
    samples = preparation.load_calibration(task)
    advice = f"See preprocess() of the task '{task}' and the data it reads."
    if len(samples) == 0 or samples.dtype != np.float32 or samples.shape[1:] != tuple(input_shape):
        expected = ", ".join(["N", *map(str, input_shape)])
        raise ConfigError(
            f"the calibration samples are {samples.dtype} of shape {samples.shape}, and the model takes float32 of "
            f"shape ({expected}). {advice}"
        )
    damaged = np.flatnonzero(~np.isfinite(samples).all(axis=tuple(range(1, samples.ndim))))
    if len(damaged):
        raise ConfigError(
            f"{len(damaged)} of {len(samples)} calibration samples hold NaN or infinity. The first one is number "
            f"{damaged[0]}. {advice}"
        )
    return samples


def _convert(runtime: ModuleType, module: Any, samples: Array, scheme: str, directory: Path) -> ExportResult:
    if isinstance(module, torch.nn.Module):
        result: ExportResult = runtime.export(module, samples, scheme, directory)
        return result
    from edgeproof.models import keras_models  # imports TensorFlow, which takes seconds

    return keras_models.export(runtime, module, samples, scheme, directory)


def _finish_artifact(
    directory: Path, module: Any, samples: Array, outcome: ExportResult | Unsupported
) -> dict[str, Any]:
    """Describe the exported files, then write some samples and the model's own outputs for them beside the files."""
    facts = conversion.describe_files(directory, outcome)
    if isinstance(outcome, Unsupported):
        return facts
    expected = frameworks.predict(module, samples[: conversion.STORED_SAMPLES])
    layout = {}
    if not isinstance(module, torch.nn.Module):
        samples, layout = layouts.move_channels_last(samples), {layouts.LAYOUT: layouts.CHANNELS_LAST}
    np.save(directory / "samples.npy", samples[: conversion.STORED_SAMPLES])
    np.save(directory / "expected.npy", expected)
    return {**facts, **layout, "output_shape": [1, *expected.shape[1:]]}


def _describe_origin(item: ExportParams, scheme: str, model_meta: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of an artifact's meta.json about its runtime, scheme, model and packages."""
    return {
        "runtime": item.runtime,
        "scheme": scheme,
        "model": {**{key: model_meta[key] for key in MODEL_FACTS}, "sha256": content_sha256(model_meta)},
        "packages": item.packages,
    }
