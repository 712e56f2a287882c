"""Inference with a bundle's artifact: the task's preprocessing, then the same Session that was measured."""

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
    """Run the bundle's samples and compare the answers with the reference model's; 1 where less than half agree."""
    samples = np.load(root / ARTIFACT / "samples.npy", allow_pickle=False)
    expected = np.load(root / ARTIFACT / "expected.npy", allow_pickle=False)
    outputs = _outputs(root, samples, threads)
    agree = int((outputs.argmax(axis=-1) == expected.argmax(axis=-1)).sum())
    print(f"verified; {agree} of {len(samples)} answers agree with the reference model")
    return 0 if 2 * agree >= len(samples) else 1


def infer(root: Path, inputs: Path, out: Path | None, *, threads: int) -> int:
    """Preprocess raw inputs and infer each; outputs to a file, or the greatest one's index a line."""
    told = json.loads((root / "bundle.json").read_text(encoding="utf-8"))
    try:
        raw = np.load(inputs, allow_pickle=False)
    except (OSError, ValueError) as error:
        print(f"error: {inputs} is no .npy of plain numbers: {error}", file=sys.stderr)
        return 2
    shape = tuple(told["input_shape"])
    if raw.shape[1:] != shape:
        print(
            f"error: inputs have shape {raw.shape}, the model wants (N, {', '.join(map(str, shape))})", file=sys.stderr
        )
        return 2
    outputs = _outputs(root, plugins.load("tasks", told["task"]).preprocess(raw), threads)
    if out is None:
        print(*outputs.argmax(axis=-1), sep="\n")
    else:
        np.save(out, outputs)
    return 0


def _outputs(root: Path, inputs: Array, threads: int) -> Array:
    """One inference a sample, float32 (N, classes)."""
    runtime = json.loads((root / "bundle.json").read_text(encoding="utf-8"))["runtime"]
    session = plugins.load("runtimes", runtime).Session(root / ARTIFACT, threads=threads)
    return np.concatenate([session(np.ascontiguousarray(inputs[n : n + 1])).copy() for n in range(len(inputs))])
