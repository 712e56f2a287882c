"""Infer with a bundle's artifact: the task's preprocessing, the session that was measured, and its postprocessing."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import layouts, plugins
from edgeproof.core.artifacts import read_inputs
from edgeproof.core.described_tasks import load_task
from edgeproof.core.directories import read_meta, write_bytes
from edgeproof.core.errors import EdgeproofError
from edgeproof.core.plain_text import escape_controls

ARTIFACT = "artifact"
INPUT_ERROR = 2  # the exit code
# The largest difference from the reference model, relative to its output, of an output that agrees with it.
TOLERANCE = 0.1

Array = np.ndarray[Any, Any]


class InputError(Exception):
    """Inputs that the artifact can't take."""


def report_error(error: Exception) -> int:
    """Print an error about what the user gave, whose names and contents may be anything, and return the exit code."""
    print(f"error: {escape_controls(str(error))}", file=sys.stderr)
    return INPUT_ERROR


def check(root: Path, *, threads: int) -> int:
    """Compare the outputs of the bundle's samples with the reference model's. Return 1 if less than half agree.

    An output agrees if its greatest value is at the same place, as a class is, or if its values are close.
    """
    samples, expected = (load_arrays(root / ARTIFACT, name) for name in ("samples", "expected"))
    outputs = infer_samples(root, samples, threads)
    count = len(samples[0])
    agree = sum(
        all(_agrees(one[index], other[index]) for one, other in zip(outputs, expected, strict=True))
        for index in range(count)
    )
    print(f"verified; {agree} of {count} answers agree with the reference model")
    return 0 if 2 * agree >= count else 1


def infer(root: Path, inputs: Path, out: Path | None, *, threads: int) -> int:
    """Preprocess raw inputs, infer each sample and postprocess its outputs.

    Return 2 for inputs that do not fit, and if `out` cannot be written.

    Several inputs are an .npz with an array for each. One output is written to the .npy file `out`, several to an .npz.
    Without `out` the index of the greatest value of the first output is printed for each sample.
    """
    task = load_bundled_task(root)
    try:
        if out is not None and out.resolve() == inputs.resolve():
            raise InputError(f"{out} is the file with the inputs. Choose another file for --out.")
        arrays = preprocess(root, task, _load_raw(task, inputs))
    except InputError as error:
        return report_error(error)
    outputs = postprocess(task, infer_samples(root, arrays, threads))
    if out is None:
        print(*outputs[0].reshape(len(outputs[0]), -1).argmax(axis=1), sep="\n")
        return 0
    try:
        write_bytes(out, _encode(outputs))
    except EdgeproofError as error:
        return report_error(error)
    return 0


def load_bundled_task(root: Path) -> Any:
    """Return the task of a bundle's artifact."""
    return load_task(json.loads((root / "bundle.json").read_text(encoding="utf-8"))["task"], root / ARTIFACT)


def _load_raw(task: Any, path: Path) -> tuple[Array, ...]:
    """Read raw inputs, one array for each input of the task. Raises InputError."""
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return (content,)
        with content:
            return tuple(np.asarray(content[port.name]) for port in task.INPUTS)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a .npy or .npz file of numbers: {error}") from None
    except KeyError as error:
        raise InputError(f"{path} lacks an input: {error.args[0]}") from None


def preprocess(root: Path, task: Any, raw: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return what the artifact takes. Raises InputError for raw inputs that do not become that."""
    shapes = ", ".join(str(array.shape) for array in raw)
    try:
        arrays = _to_tuple(task.preprocess(raw[0] if len(raw) == 1 else raw))
    except Exception as error:  # the inputs may be anything, and preprocess() checks nothing
        raise InputError(f"inputs have shape {shapes}, which the task can't preprocess: {error}") from None
    meta = read_meta(root / ARTIFACT, verify=False)
    if meta.get(layouts.LAYOUT) == layouts.CHANNELS_LAST:
        arrays = layouts.move_channels_last(arrays)
    ports = read_inputs(meta) or tuple(task.INPUTS)
    if [array.shape[1:] for array in arrays] != [port.shape for port in ports]:
        expected = " and ".join(f"(N, {', '.join(map(str, port.shape))})" for port in ports)
        raise InputError(f"inputs have shape {shapes}, the model takes {expected}")
    counts = {len(array) for array in arrays}
    if len(counts) > 1 or counts == {0}:
        raise InputError(f"inputs have shape {shapes}: every input needs the same number of samples, at least one")
    return arrays


def infer_samples(root: Path, inputs: Sequence[Array], threads: int) -> tuple[Array, ...]:
    """Return the outputs, an array (N, …) for each, from one inference a sample."""
    session = load_session(root, threads)
    return _join([tuple(output.copy() for output in session(*row)) for row in split(inputs)])


def load_session(root: Path, threads: int) -> Any:
    """Load the bundle's artifact into its runtime."""
    runtime = json.loads((root / "bundle.json").read_text(encoding="utf-8"))["runtime"]
    return plugins.load("runtimes", runtime).Session(root / ARTIFACT, threads=threads)


def postprocess(task: Any, outputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return what an application reads: the outputs, or what the task makes of those of each sample."""
    if not hasattr(task, "postprocess"):
        return outputs
    return _join([_to_tuple(task.postprocess(*row)) for row in split(outputs)])


def split(arrays: Sequence[Array]) -> list[tuple[Array, ...]]:
    """Return the samples of some arrays (N, …), each a tuple of contiguous arrays (1, …)."""
    return [tuple(np.ascontiguousarray(array[n : n + 1]) for array in arrays) for n in range(len(arrays[0]))]


def _encode(outputs: Sequence[Array]) -> bytes:
    """Return the bytes of a .npy file with one output, or of a .npz file with several."""
    stream = io.BytesIO()
    if len(outputs) == 1:
        np.save(stream, outputs[0])
    else:
        np.savez(stream, *outputs)
    return stream.getvalue()


def _join(rows: Sequence[tuple[Array, ...]]) -> tuple[Array, ...]:
    return tuple(np.concatenate(parts) for parts in zip(*rows, strict=True))


def load_arrays(directory: Path, name: str) -> tuple[Array, ...]:
    """Load name.npy and further arrays, name_1.npy and so on."""
    paths, number = [directory / f"{name}.npy"], 1
    while (path := directory / f"{name}_{number}.npy").exists():
        paths.append(path)
        number += 1
    return tuple(np.load(path, allow_pickle=False) for path in paths)


def _agrees(output: Array, expected: Array) -> bool:
    difference = np.linalg.norm(np.subtract(output, expected, dtype=np.float64))
    is_close = difference <= TOLERANCE * np.linalg.norm(expected.astype(np.float64))
    return bool(output.argmax() == expected.argmax() or is_close)


def _to_tuple(value: Any) -> tuple[Array, ...]:
    return value if isinstance(value, tuple) else (value,)
