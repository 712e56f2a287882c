"""Inputs for external files: the arrays of a user's .npz, checked against the file's input, or random inputs."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgeproof.artifacts.external.guards import check_unpacked_size, describe_error
from edgeproof.converters.model_files import check_regular_file
from edgeproof.core.artifacts import TensorSpec
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ConfigError, EdgeproofError, suggest_nearest
from edgeproof.data.samples import Samples

SEED = 0
RANDOM_SAMPLES = 32
# The most numbers of one input, and of all random inputs together.
MAX_INPUT_ELEMENTS = 1 << 26
MAX_RANDOM_ELEMENTS = 1 << 28
INPUTS, TARGETS = "x", "y"
DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64")
RANDOM_INPUTS = f"random inputs, seed {SEED}"  # the task's name in records

Array = np.ndarray[Any, Any]
Content = TypeVar("Content")


@dataclass(frozen=True)
class ExternalData:
    """Inputs x (N, *input_shape) and targets y (N, …) that a user gave, and the path of their file.

    `targets` is the file of the targets if they have one of their own.
    """

    path: Path
    x: Array
    y: Array | None
    targets: Path | None = None

    @property
    def description(self) -> str:
        """The task's name in records. It contains a hash, because other content is another task."""
        files = [self.path] if self.targets is None else [self.path, self.targets]
        return ", ".join(f"{path.name} {hash_file(path)[:12]}" for path in files)


def read_data(path: Path, labels: str | None = None) -> ExternalData:
    """Read an .npz with x and optionally targets. Raises ConfigError for any other file or content.

    `labels` names the targets: an array of the .npz, or an .npy file. Without it they are y, if there is one.
    """
    if not path.exists():
        raise ConfigError(f"{path} does not exist. --data names an .npz with x and, optionally, y.")
    labels_file = Path(labels) if labels is not None and labels.endswith(".npy") else None
    name = TARGETS if labels is None or labels_file is not None else labels
    arrays = _read_guarded(path, lambda: _read_arrays(path, name), "npz", f"savez(path, x=inputs, {name}=labels)")
    if INPUTS not in arrays:
        raise ConfigError(f"{path} holds no x: the inputs, one row a sample.")
    x = _check_x(path, arrays[INPUTS])
    if labels_file is not None:
        return ExternalData(path, x, _read_labels(labels_file, x), labels_file)
    if labels is not None and name not in arrays:
        raise ConfigError(f"{path} holds no '{name}', which --labels names. Name an array of it, or an .npy file.")
    return ExternalData(path, x, _check_y(path, name, x, arrays[name]) if name in arrays else None)


def infer_input_shape(spec: TensorSpec, data: ExternalData | None, path: str) -> tuple[int, ...]:
    """Return the shape of one sample with its batch axis of 1. Sizes that the file leaves open are those of the data.

    Raises ConfigError if the file takes no batch of one, or if the data has another shape.
    """
    if spec.shape is None:
        raise ConfigError(
            f"{path} takes '{spec.name}' without a number of axes. Export the model again with the input's shape."
        )
    declared = ["?" if size is None else size for size in spec.shape]
    if not spec.shape or spec.shape[0] not in (None, 1):
        raise ConfigError(
            f"{path} takes inputs of shape {_format_shape(declared)}: the first axis must be a batch of 1 or open, "
            "because one sample is measured in each inference. Export the model again with such a batch."
        )
    if data is None:
        if None in spec.shape[1:]:
            raise ConfigError(
                f"{path} takes inputs of shape {_format_shape(declared)} and leaves more than the batch open. "
                "Give inputs of the shape to measure with --data."
            )
        return _check_size((1, *(size for size in spec.shape[1:] if size is not None)), path)
    shape, expected = data.x.shape[1:], spec.shape[1:]
    if len(shape) != len(expected) or any(a not in (None, b) for a, b in zip(expected, shape, strict=True)):
        raise ConfigError(
            f"x in {data.path} has samples of shape {_format_shape(shape)}, and {path} takes "
            f"{_format_shape(declared[1:])}. Give them in the file's own layout, (N, ...)."
        )
    return _check_size((1, *shape), path)


def prepare_samples(spec: TensorSpec, shape: Sequence[int], data: ExternalData | None, path: str) -> Samples:
    """Return inputs (N, *shape[1:]) float32 for a file with this input, and their labels if they are known.

    Raises ConfigError if the file takes another element type, or if the data does not fit in it.
    """
    if spec.dtype not in DTYPES:
        raise ConfigError(f"{path} takes {spec.dtype}: inputs may be {', '.join(DTYPES)}.")
    if data is None:
        return Samples(_draw_samples(spec, shape), None)
    return Samples(_fit_data(spec, data, path), data.y)


def _check_size(shape: tuple[int, ...], path: str) -> tuple[int, ...]:
    if math.prod(shape) > MAX_INPUT_ELEMENTS:
        raise ConfigError(
            f"{path} takes {_format_shape(shape)}, which is {math.prod(shape):,} numbers for each inference: at most "
            f"{MAX_INPUT_ELEMENTS:,} can be measured. Export the model for a smaller input."
        )
    return shape


def _read_guarded(path: Path, read: Callable[[], Content], kind: str, advice: str) -> Content:
    """Read a file of numpy's. Raises ConfigError for one that is no regular file, too large or damaged."""
    check_regular_file(path)
    check_unpacked_size(path)
    try:
        return read()
    except EdgeproofError:
        raise
    except Exception as error:  # a damaged file raises exceptions of many types
        raise ConfigError(
            f"{path} can't be read as an .{kind} ({describe_error(error)}). Write it with numpy.{advice}, without "
            "objects."
        ) from None


def _read_labels(path: Path, x: Array) -> Array:
    """Read targets from an .npy file. Raises ConfigError."""
    if not path.exists():
        raise ConfigError(f"{path} does not exist. --labels names an .npy file, or an array of --data.")
    labels = _read_guarded(path, lambda: np.load(path, allow_pickle=False), "npy", "save(path, labels)")
    return _check_y(path, "the array", x, labels)


def _read_arrays(path: Path, targets: str) -> dict[str, Array]:
    """Read the arrays of an .npz after a look at their names. An .npy has none."""
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a zip archive")
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            if name not in (INPUTS, TARGETS, targets):
                near = suggest_nearest(name, (INPUTS, targets))
                raise ConfigError(f"{path} holds an array '{name}'.{near} It may contain only x and {targets}.")
        return {name: archive[name] for name in archive.files}


def _check_x(path: Path, x: Array) -> Array:
    if x.dtype.kind not in "fiu":
        raise ConfigError(f"x in {path} is of {x.dtype}: give numbers, such as float32.")
    if x.ndim == 0 or not x.size:
        raise ConfigError(f"x in {path} has shape {_format_shape(x.shape)}: give one row a sample, at least one.")
    if not np.isfinite(x).all():
        raise ConfigError(f"x in {path} holds NaN or infinity.")
    return x


def _check_y(path: Path, name: str, x: Array, y: Array) -> Array:
    """Return targets, integers as int64. Their metric checks the rest."""
    if y.dtype.kind not in "fiub" or y.shape[:1] != x.shape[:1]:
        raise ConfigError(
            f"{name} in {path} is of {y.dtype} with shape {_format_shape(y.shape)}: give a number for each of the "
            f"{len(x)} rows of x, or a row of numbers."
        )
    return y.astype(np.int64) if y.dtype.kind in "iu" else y


def _fit_data(spec: TensorSpec, data: ExternalData, path: str) -> Array:
    """Return x as float32. Raises ConfigError if the element type of the file's input cannot hold its values."""
    x = data.x
    with np.errstate(over="ignore"):  # an overflow is reported below
        inputs = np.ascontiguousarray(x, np.float32)
    if spec.quantization is not None and x.dtype.kind != "f":
        scale, zero_point = spec.quantization
        raise ConfigError(
            f"x in {data.path} is of {x.dtype}, and {path} takes quantized {spec.dtype}: give the numbers that the "
            f"integers stand for, as float32. An integer q stands for (q - {zero_point}) * {scale!r}."
        )
    if not np.isfinite(inputs).all():
        raise ConfigError(f"x in {data.path} exceeds the range of float32, in which inputs are fed.")
    if spec.quantization is not None or np.dtype(spec.dtype).kind == "f":
        return inputs
    limits = np.iinfo(spec.dtype)
    is_whole = (inputs == x).all() and (np.rint(inputs) == inputs).all()
    if not is_whole or inputs.min() < limits.min or inputs.max() > limits.max:
        raise ConfigError(
            f"{path} takes {spec.dtype}, and x in {data.path} holds numbers that are not whole, outside "
            f"{limits.min}..{limits.max}, or beyond 2**24, above which float32 skips some integers."
        )
    return inputs


def _draw_samples(spec: TensorSpec, shape: Sequence[int]) -> Array:
    """Draw deterministic inputs: normal ones for floats, and the whole range for integers of 8 or 16 bits.

    Wider integers may be indices, so they are 0 and 1.
    """
    generator = np.random.default_rng(SEED)
    samples_shape = (max(1, min(RANDOM_SAMPLES, MAX_RANDOM_ELEMENTS // math.prod(shape[1:]))), *shape[1:])
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return generator.standard_normal(samples_shape).astype(np.float32)
    limits = np.iinfo(dtype)
    low, high = (limits.min, limits.max) if dtype.itemsize <= 2 else (0, 1)
    integers = generator.integers(low, high, samples_shape, endpoint=True).astype(np.float32)
    if spec.quantization is None:
        return integers
    scale, zero_point = spec.quantization
    return ((integers - zero_point) * scale).astype(np.float32)


def _format_shape(shape: Sequence[Any]) -> str:
    return f"({', '.join(map(str, shape))})"
