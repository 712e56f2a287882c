"""Lower one model for one runtime in every scheme asked for: artifacts/<runtime>/<model>/<scheme>."""

from __future__ import annotations

import functools
import sys
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
from edgeproof.models import model_files, training
from edgeproof.paths import ARTIFACTS, artifact_name, model_dir

SAMPLES = 8

Array = np.ndarray[Any, Any]


def export(item: ExportParams, task: str) -> None:
    """Write artifacts/<runtime>/<model>, a directory a scheme and seed; what a runtime can't do says so in its meta."""
    packages.require(item.packages)
    runtime = plugins.load("runtimes", item.runtime)
    with write_atomically(ARTIFACTS / item.runtime / item.model) as out:
        for seed in item.seeds:
            stored = model_dir(item.model, item.seeds, seed)
            model_files.make_deterministic(read_meta(stored)["network"]["name"], seed, item.threads)
            module, network, model_meta = model_files.load(stored)
            training.make_deterministic(seed, item.threads)  # building the module drew random numbers
            samples = _calibration(task, network.input_shape)
            for scheme in item.schemes:
                started = time.monotonic()
                directory = out / artifact_name(scheme, item.seeds, seed)
                directory.mkdir()
                outcome = conversion.run_converter(
                    f"exporting '{item.model}' to {item.runtime} as {scheme}",
                    functools.partial(_lower, runtime, module, samples, scheme, directory),
                )
                meta = {**_described(directory, module, samples, outcome), **_lineage(item, scheme, model_meta)}
                write_meta(directory, meta)
                _say(item, directory.name, meta, time.monotonic() - started)


def _calibration(task: str, input_shape: Sequence[int]) -> Array:
    """The task's calibration samples. Raises ConfigError for what would only confuse the runtimes' calibrators."""
    samples = preparation.calibration(task)
    where = f"See preprocess() of the task '{task}' and the data it reads."
    if len(samples) == 0 or samples.dtype != np.float32 or samples.shape[1:] != tuple(input_shape):
        wanted = ", ".join(["N", *map(str, input_shape)])
        raise ConfigError(
            f"the calibration samples are {samples.dtype} of shape {samples.shape}, and the model takes float32 of "
            f"shape ({wanted}). {where}"
        )
    damaged = np.flatnonzero(~np.isfinite(samples).all(axis=tuple(range(1, samples.ndim))))
    if len(damaged):
        raise ConfigError(
            f"{len(damaged)} of {len(samples)} calibration samples hold NaN or infinity, the first is number "
            f"{damaged[0]}. {where}"
        )
    return samples


def _lower(runtime: ModuleType, module: Any, samples: Array, scheme: str, directory: Path) -> ExportResult:
    if isinstance(module, torch.nn.Module):
        lowered: ExportResult = runtime.export(module, samples, scheme, directory)
        return lowered
    from edgeproof.models import keras_models

    return keras_models.export(runtime, module, samples, scheme, directory)


def _described(directory: Path, module: Any, samples: Array, outcome: ExportResult | Unsupported) -> dict[str, Any]:
    facts = conversion.describe_files(directory, outcome)
    if isinstance(outcome, Unsupported):
        return facts
    expected = model_files.predict(module, samples[:SAMPLES])
    layout = {}
    if not isinstance(module, torch.nn.Module):
        samples, layout = layouts.channels_last(samples), {layouts.LAYOUT: layouts.CHANNELS_LAST}
    np.save(directory / "samples.npy", samples[:SAMPLES])
    np.save(directory / "expected.npy", expected)
    return {**facts, **layout, "output_shape": [1, *expected.shape[1:]]}


def _lineage(item: ExportParams, scheme: str, model_meta: dict[str, Any]) -> dict[str, Any]:
    kept = (
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
    )
    model = {key: model_meta[key] for key in (*kept, "validation_accuracy", "network", "data_sha256")}
    return {
        "runtime": item.runtime,
        "scheme": scheme,
        "model": {**model, "sha256": content_sha256(model_meta)},
        "packages": item.packages,
    }


def _say(item: ExportParams, name: str, meta: dict[str, Any], seconds: float) -> None:
    what = f"unsupported: {meta['unsupported']}" if "unsupported" in meta else f"{meta['size_bytes']:,} bytes"
    print(f"  {item.model} → {item.runtime} {name}: {what} ({seconds:.1f} s)", file=sys.stderr)
