"""Lower one model for one runtime in every scheme asked for: artifacts/<runtime>/<model>/<scheme>."""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import dataset, models, packages, training
from .core import plugins
from .core.artifacts import Lowered
from .core.directories import files_of, identity, write_meta, written_whole
from .core.errors import ConfigError, EdgeproofError, Unsupported
from .params import ExportParams
from .paths import ARTIFACTS, MODELS

SAMPLES = 8

Array = np.ndarray[Any, Any]


def export(item: ExportParams, task: str) -> None:
    """Write artifacts/<runtime>/<model> with one directory a scheme; what the runtime cannot do says so in its meta."""
    packages.require(item.packages)
    runtime = plugins.load("runtimes", item.runtime)
    module, network, model_meta = models.load(MODELS / item.model)
    training.deterministic(model_meta["seed"], item.threads)
    samples = _calibration(task, network.input_shape)
    with written_whole(ARTIFACTS / item.runtime / item.model) as out:
        for scheme in item.schemes:
            started = time.monotonic()
            directory = out / scheme
            directory.mkdir()
            outcome = _lower(runtime, module, samples, scheme, directory, item)
            meta = {**_described(directory, module, samples, outcome), **_lineage(item, scheme, model_meta)}
            write_meta(directory, meta)
            _say(item, scheme, meta, time.monotonic() - started)


def _calibration(task: str, input_shape: Sequence[int]) -> Array:
    """The task's calibration samples. Raises ConfigError for what would only confuse the runtimes' calibrators."""
    samples = dataset.calibration(task)
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


def _lower(
    runtime: Any, module: torch.nn.Module, samples: Array, scheme: str, directory: Path, item: ExportParams
) -> Lowered | Unsupported:
    with _captured() as log:
        try:
            outcome: Lowered = runtime.export(module, samples, scheme, directory)
        except Unsupported as reason:
            return reason
        except OSError:
            raise
        except Exception as error:
            traceback.print_exc()
            tail = log()
            raise EdgeproofError(
                f"exporting '{item.model}' to {item.runtime} as {scheme} failed: "
                f"{type(error).__name__}: {error}\n{tail}"
            ) from error
    return outcome


def _described(
    directory: Path, module: torch.nn.Module, samples: Array, outcome: Lowered | Unsupported
) -> dict[str, Any]:
    if isinstance(outcome, Unsupported):
        for name in files_of(directory):
            (directory / name).unlink()
        return {"unsupported": str(outcome)}
    lowered = files_of(directory)
    with torch.no_grad():
        expected = module(torch.from_numpy(samples[:SAMPLES])).numpy()
    np.save(directory / "samples.npy", samples[:SAMPLES])
    np.save(directory / "expected.npy", expected)
    return {
        "lowered": lowered,
        "size_bytes": sum((directory / name).stat().st_size for name in lowered),
        "gzip_bytes": sum(len(gzip.compress((directory / name).read_bytes(), 9, mtime=0)) for name in lowered),
        "output_shape": [1, *expected.shape[1:]],
        "notes": list(outcome.notes),
    }


def _lineage(item: ExportParams, scheme: str, model_meta: dict[str, Any]) -> dict[str, Any]:
    kept = ("name", "task", "method", "options", "lineage", "seed", "parameters", "macs", "weight_sparsity")
    model = {key: model_meta[key] for key in (*kept, "validation_accuracy", "network", "data_sha256")}
    return {
        "runtime": item.runtime,
        "scheme": scheme,
        "model": {**model, "sha256": identity(model_meta)},
        "packages": item.packages,
    }


def _say(item: ExportParams, scheme: str, meta: dict[str, Any], seconds: float) -> None:
    what = f"unsupported: {meta['unsupported']}" if "unsupported" in meta else f"{meta['size_bytes']:,} bytes"
    print(f"  {item.model} → {item.runtime} {scheme}: {what} ({seconds:.1f} s)", file=sys.stderr)


@contextmanager
def _captured() -> Iterator[Any]:
    """Send what the converters print (Python and C++ alike) to a file; yields a function that returns its tail."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)

        def tail() -> str:
            sys.stdout.flush()
            sys.stderr.flush()
            file.seek(0)
            return "\n".join(file.read().decode(errors="replace").splitlines()[-15:])

        try:
            yield tail
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            for descriptor in kept:
                os.close(descriptor)
