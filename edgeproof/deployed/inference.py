"""Infer with a bundle's artifact: the task's preprocessing, then the same session that was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import plugins

ARTIFACT = "artifact"

Array = np.ndarray[Any, Any]


def check(root: Path, *, threads: int) -> int:
    """Compare the classes of the bundle's samples with the reference model's. Return 1 if less than half agree."""
    samples = np.load(root / ARTIFACT / "samples.npy", allow_pickle=False)
    expected = np.load(root / ARTIFACT / "expected.npy", allow_pickle=False)
    outputs = _infer_samples(root, samples, threads)
    agree = int((outputs.argmax(axis=-1) == expected.argmax(axis=-1)).sum())
    print(f"verified; {agree} of {len(samples)} answers agree with the reference model")
    return 0 if 2 * agree >= len(samples) else 1


def infer(root: Path, inputs: Path, out: Path | None, *, threads: int) -> int:
    """Preprocess raw inputs and infer each sample. Return 2 for inputs that do not fit.

    The outputs are written to the file `out`, or the index of the greatest output is printed for each sample.
    """
    bundle = json.loads((root / "bundle.json").read_text(encoding="utf-8"))
    try:
        raw = np.load(inputs, allow_pickle=False)
    except (OSError, ValueError) as error:
        print(f"error: {inputs} is not a .npy file of numbers: {error}", file=sys.stderr)
        return 2
    shape = tuple(bundle["input_shape"])
    if raw.shape[1:] != shape:
        print(
            f"error: inputs have shape {raw.shape}, the model takes (N, {', '.join(map(str, shape))})", file=sys.stderr
        )
        return 2
    outputs = _infer_samples(root, plugins.load("tasks", bundle["task"]).preprocess(raw), threads)
    if out is None:
        print(*outputs.argmax(axis=-1), sep="\n")
    else:
        np.save(out, outputs)
    return 0


def _infer_samples(root: Path, inputs: Array, threads: int) -> Array:
    """Return the outputs (N, classes), float32, from one inference a sample."""
    runtime = json.loads((root / "bundle.json").read_text(encoding="utf-8"))["runtime"]
    session = plugins.load("runtimes", runtime).Session(root / ARTIFACT, threads=threads)
    return np.concatenate([session(np.ascontiguousarray(inputs[n : n + 1])).copy() for n in range(len(inputs))])
