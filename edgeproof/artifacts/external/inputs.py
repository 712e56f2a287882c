"""Inputs for external files: the arrays of a user's .npz, checked against the file's input, or random inputs."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
ARRAYS = ("x", "y")
DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64")
RANDOM_INPUTS = f"random inputs, seed {SEED}"  # the task's name in records

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ExternalData:
    """Inputs x (N, *input_shape) and labels y (N,) that a user gave, and the path of their file."""

    path: Path
    x: Array
    y: Array | None

    @property
    def description(self) -> str:
        """The task's name in records. It contains a hash, because other content is another task."""
        return f"{self.path.name} {hash_file(self.path)[:12]}"


def read_data(path: Path) -> ExternalData:
    """Read an .npz with x and optionally y. Raises ConfigError for any other file or content."""
    if not path.exists():
        raise ConfigError(f"{path} does not exist. --data names an .npz with x and, optionally, y.")
    check_regular_file(path)
    check_unpacked_size(path)
    try:
        arrays = _read_arrays(path)
    except EdgeproofError:
        raise
    except Exception as error:  # a damaged archive raises exceptions of many types
        raise ConfigError(
            f"{path} can't be read as an .npz ({describe_error(error)}). "
            "Write it with numpy.savez(path, x=inputs, y=labels), without objects."
        ) from None
    if "x" not in arrays:
        raise ConfigError(f"{path} holds no x: the inputs, one row a sample.")
    x = _check_x(path, arrays["x"])
    return ExternalData(path, x, _check_y(path, x, arrays["y"]) if "y" in arrays else None)


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


def check_labels(labels: Array | None, output_shape: Sequence[int], path: str, *, varies: bool = False) -> None:
    """Raise ConfigError if the labels cannot be compared with the index of the file's highest output.

    `varies` says that the size of the output depends on the data.
    """
    if labels is None:
        return
    if varies:
        raise ConfigError(
            f"{path} has an output whose size depends on the data, so y can't be compared with its highest value. "
            "Leave y out of --data to measure without accuracy."
        )
    sizes = [size for size in output_shape[1:] if size > 1]
    if len(sizes) != 1:
        raise ConfigError(
            f"{path} answers with shape {_format_shape(output_shape)}: y is compared with the highest of one row of "
            "values. Leave y out of --data to measure without accuracy."
        )
    if labels.max() >= sizes[0]:
        raise ConfigError(
            f"y in --data goes up to {labels.max()}, and {path} has {sizes[0]} classes: "
            f"labels are whole numbers from 0 to {sizes[0] - 1}."
        )


def _check_size(shape: tuple[int, ...], path: str) -> tuple[int, ...]:
    if math.prod(shape) > MAX_INPUT_ELEMENTS:
        raise ConfigError(
            f"{path} takes {_format_shape(shape)}, which is {math.prod(shape):,} numbers for each inference: at most "
            f"{MAX_INPUT_ELEMENTS:,} can be measured. Export the model for a smaller input."
        )
    return shape


def _read_arrays(path: Path) -> dict[str, Array]:
    """Read the arrays of an .npz after a look at their names. An .npy has none."""
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a zip archive")
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            if name not in ARRAYS:
                raise ConfigError(
                    f"{path} holds an array '{name}'.{suggest_nearest(name, ARRAYS)} It may contain only x and y."
                )
        return {name: archive[name] for name in archive.files}


def _check_x(path: Path, x: Array) -> Array:
    if x.dtype.kind not in "fiu":
        raise ConfigError(f"x in {path} is of {x.dtype}: give numbers, such as float32.")
    if x.ndim == 0 or not x.size:
        raise ConfigError(f"x in {path} has shape {_format_shape(x.shape)}: give one row a sample, at least one.")
    if not np.isfinite(x).all():
        raise ConfigError(f"x in {path} holds NaN or infinity.")
    return x


def _check_y(path: Path, x: Array, y: Array) -> Array:
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise ConfigError(
            f"y in {path} is of {y.dtype} with shape {_format_shape(y.shape)}: give one whole number for each of the "
            f"{len(x)} rows of x."
        )
    if y.min() < 0:
        raise ConfigError(f"y in {path} goes down to {y.min()}: labels are whole numbers from 0.")
    return y.astype(np.int64)


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
