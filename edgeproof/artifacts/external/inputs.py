"""Inputs for external files: the arrays of a user's .npz, checked against the file's inputs, or random inputs."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgeproof.artifacts.external.guards import check_unpacked_size, describe_error
from edgeproof.converters.model_files import check_regular_file
from edgeproof.core.artifacts import TensorSpec
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ConfigError, EdgeproofError, suggest_nearest
from edgeproof.core.sessions import choose_port_dtype
from edgeproof.data.samples import Samples

SEED = 0
RANDOM_SAMPLES = 32
# The most numbers of one input, and of all random inputs together.
MAX_INPUT_ELEMENTS = 1 << 26
MAX_RANDOM_ELEMENTS = 1 << 28
# The array of a file's only input, whatever its name is, and the array of targets.
INPUTS, TARGETS = "x", "y"
DTYPES = ("float32", "float16", "bool", "int8", "uint8", "int16", "int32", "int64")
RANDOM_INPUTS = f"random inputs, seed {SEED}"  # the task's name in records

Array = np.ndarray[Any, Any]
Content = TypeVar("Content")


@dataclass(frozen=True)
class ExternalData:
    """Arrays (N, …) that a user gave for inputs, targets y (N, …), and the path of their file.

    `arrays` are named like a file's inputs; that of an only input may be called x. An array y is the input of that name
    of a file that has one. `targets` is the file of the targets if they have one of their own.
    """

    path: Path
    arrays: Mapping[str, Array]
    y: Array | None
    targets: Path | None = None

    @property
    def description(self) -> str:
        """The task's name in records. It contains a hash, because other content is another task."""
        files = [self.path] if self.targets is None else [self.path, self.targets]
        return ", ".join(f"{path.name} {hash_file(path)[:12]}" for path in files)

    def select_inputs(self, specs: Sequence[TensorSpec]) -> dict[str, Array]:
        """Return the array of each input under its own name. Raises ConfigError for missing and for unknown arrays."""
        names = [spec.name for spec in specs]
        if len(names) == 1 and names[0] not in self.arrays and INPUTS in self.arrays:
            names = [INPUTS]
        known = (*names, TARGETS)
        for name in self.arrays:
            if name not in known:
                near = suggest_nearest(name, known)
                expected = ", ".join(names)
                raise ConfigError(f"{self.path} holds an array '{name}'.{near} It may contain only {expected} and y.")
        missing = [name for name in names if name not in self.arrays]
        if missing:
            raise ConfigError(f"{self.path} holds no {' and no '.join(missing)}: the inputs, one row a sample.")
        return {name: self.arrays[name] for name in names}

    def select_targets(self, specs: Sequence[TensorSpec]) -> Array | None:
        """Return the targets. They are None if there are none, or if y is an input of the file."""
        is_input = self.targets is None and TARGETS in self.arrays and any(spec.name == TARGETS for spec in specs)
        return None if is_input else self.y


def read_data(path: Path, labels: str | None = None) -> ExternalData:
    """Read an .npz with inputs and optionally targets. Raises ConfigError for any other file or content.

    `labels` names the targets: an array of the .npz, or an .npy file. Without it they are y, if there is one.
    """
    if not path.exists():
        raise ConfigError(f"{path} does not exist. --data names an .npz with x and, optionally, y.")
    labels_file = Path(labels) if labels is not None and labels.endswith(".npy") else None
    name = TARGETS if labels is None or labels_file is not None else labels
    arrays = _read_guarded(path, lambda: _read_arrays(path), "npz", f"savez(path, x=inputs, {name}=labels)")
    inputs = {key: array for key, array in arrays.items() if key != name}
    if not inputs:
        raise ConfigError(f"{path} holds no x: the inputs, one row a sample.")
    for key, array in inputs.items():
        _check_input(path, key, array)
    first = next(iter(inputs.values()))
    if any(len(array) != len(first) for array in inputs.values()):
        lengths = ", ".join(f"{len(array)} of {key}" for key, array in inputs.items())
        raise ConfigError(f"{path} holds inputs of different lengths: {lengths}. Give one row a sample.")
    if labels_file is not None:
        return ExternalData(path, arrays, _read_labels(labels_file, first), labels_file)
    if labels is not None and name not in arrays:
        raise ConfigError(f"{path} holds no '{name}', which --labels names. Name an array of it, or an .npy file.")
    targets = _check_y(path, name, first, arrays[name]) if name in arrays else None
    return ExternalData(path, arrays if name == TARGETS else inputs, targets)


def infer_input_shapes(specs: Sequence[TensorSpec], data: ExternalData | None, path: str) -> list[tuple[int, ...]]:
    """Return the shape of one sample of each input, with its batch axis of 1. Open sizes are those of the data.

    Raises ConfigError if the file takes no batch of one, or if the data has another shape.
    """
    if data is None:
        shapes = [_infer_shape_without_data(spec, path) for spec in specs]
    else:
        arrays = data.select_inputs(specs).items()
        shapes = [
            _infer_shape(spec, name, array, data, path) for spec, (name, array) in zip(specs, arrays, strict=True)
        ]
    elements = sum(math.prod(shape) for shape in shapes)
    if elements > MAX_INPUT_ELEMENTS:
        raise ConfigError(
            f"{path} takes {' and '.join(map(_format_shape, shapes))}, which is {elements:,} numbers for each "
            f"inference: at most {MAX_INPUT_ELEMENTS:,} can be measured. Export the model for a smaller input."
        )
    return shapes


def prepare_samples(
    specs: Sequence[TensorSpec], shapes: Sequence[Sequence[int]], data: ExternalData | None, path: str
) -> Samples:
    """Return an array (N, *shape[1:]) for each input of a file, and the targets if they are known.

    Integers stay integers. All other inputs are float32, also those that the file takes quantized. Raises ConfigError
    if the file takes another element type, or if the data does not fit in it.
    """
    for spec in specs:
        if spec.dtype not in DTYPES:
            raise ConfigError(f"{path} takes {spec.dtype}: inputs may be {', '.join(DTYPES)}.")
    if data is None:
        return Samples(_draw_samples(specs, shapes), None)
    arrays = data.select_inputs(specs).items()
    inputs = tuple(
        _fit_data(spec, array, f"{name} in {data.path}", path)
        for spec, (name, array) in zip(specs, arrays, strict=True)
    )
    return Samples(inputs, data.select_targets(specs))


def choose_dtype(spec: TensorSpec) -> str:
    """Return the element type in which a session takes an input: float32 for numbers that the file takes quantized."""
    return "float32" if spec.quantization is not None else choose_port_dtype(spec.dtype)


def _infer_shape(spec: TensorSpec, name: str, array: Array, data: ExternalData, path: str) -> tuple[int, ...]:
    declared = _check_batch(spec, path)
    shape, expected = array.shape[1:], declared[1:]
    if len(shape) != len(expected) or any(a not in (None, b) for a, b in zip(expected, shape, strict=True)):
        raise ConfigError(
            f"{name} in {data.path} has samples of shape {_format_shape(shape)}, and {path} takes "
            f"{_format_shape(declared[1:])}. Give them in the file's own layout, (N, ...)."
        )
    return (1, *shape)


def _infer_shape_without_data(spec: TensorSpec, path: str) -> tuple[int, ...]:
    declared = _check_batch(spec, path)
    if None in declared[1:]:
        raise ConfigError(
            f"{path} takes inputs of shape {_format_shape(declared)} and leaves more than the batch open. "
            "Give inputs of the shape to measure with --data."
        )
    return (1, *(size for size in declared[1:] if size is not None))


def _check_batch(spec: TensorSpec, path: str) -> tuple[int | None, ...]:
    """Return the declared shape of an input. Raises ConfigError unless its first axis is a batch of 1 or open."""
    if spec.shape is None:
        raise ConfigError(
            f"{path} takes '{spec.name}' without a number of axes. Export the model again with the input's shape."
        )
    if not spec.shape or spec.shape[0] not in (None, 1):
        raise ConfigError(
            f"{path} takes inputs of shape {_format_shape(spec.shape)}: the first axis must be a batch of 1 or open, "
            "because one sample is measured in each inference. Export the model again with such a batch."
        )
    return spec.shape


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


def _read_arrays(path: Path) -> dict[str, Array]:
    """Read the arrays of an .npz by name. An .npy has none."""
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a zip archive")
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy gives the bytes of a member that is no array
            raise ValueError(f"'{name}' is not an array")
    return arrays


def _check_input(path: Path, name: str, x: Array) -> None:
    if x.dtype.kind not in "fiub":
        raise ConfigError(f"{name} in {path} is of {x.dtype}: give numbers, such as float32.")
    if x.ndim == 0 or not x.size:
        raise ConfigError(f"{name} in {path} has shape {_format_shape(x.shape)}: give one row a sample, at least one.")
    if not np.isfinite(x).all():
        raise ConfigError(f"{name} in {path} holds NaN or infinity.")


def _check_y(path: Path, name: str, x: Array, y: Array) -> Array:
    """Return targets, integers as int64. Their metric checks the rest."""
    if y.dtype.kind not in "fiub" or y.shape[:1] != x.shape[:1]:
        raise ConfigError(
            f"{name} in {path} is of {y.dtype} with shape {_format_shape(y.shape)}: give a number for each of the "
            f"{len(x)} rows of the inputs, or a row of numbers."
        )
    return y.astype(np.int64) if y.dtype.kind in "iu" else y


def _fit_data(spec: TensorSpec, x: Array, source: str, path: str) -> Array:
    """Return an array in the element type that a session takes. `source` names it in messages.

    Raises ConfigError if the element type of the file's input cannot hold its values.
    """
    if spec.quantization is not None and x.dtype.kind != "f":
        scale, zero_point = spec.quantization
        raise ConfigError(
            f"{source} is of {x.dtype}, and {path} takes quantized {spec.dtype}: give the numbers that the "
            f"integers stand for, as float32. An integer q stands for (q - {zero_point}) * {scale!r}."
        )
    if choose_dtype(spec) == "float32":
        with np.errstate(over="ignore"):  # an overflow is reported below
            inputs = np.ascontiguousarray(x, np.float32)
        if not np.isfinite(inputs).all():
            raise ConfigError(f"{source} exceeds the range of float32, in which inputs are fed.")
        return inputs
    lowest, highest = _get_limits(np.dtype(spec.dtype))
    is_whole = x.dtype.kind != "f" or bool((np.rint(x) == x).all())
    if not is_whole or x.min() < lowest or x.max() > highest:
        raise ConfigError(
            f"{path} takes {spec.dtype}, and {source} holds numbers that are not whole, or outside {lowest}..{highest}."
        )
    return np.ascontiguousarray(x, choose_dtype(spec))


def _draw_samples(specs: Sequence[TensorSpec], shapes: Sequence[Sequence[int]]) -> tuple[Array, ...]:
    """Draw deterministic inputs: normal ones for floats, and the whole range for integers of 8 or 16 bits.

    Wider integers may be indices, so they are 0 and 1.
    """
    generator = np.random.default_rng(SEED)
    elements = sum(math.prod(shape[1:]) for shape in shapes)
    count = max(1, min(RANDOM_SAMPLES, MAX_RANDOM_ELEMENTS // elements))
    return tuple(_draw_input(spec, (count, *shape[1:]), generator) for spec, shape in zip(specs, shapes, strict=True))


def _draw_input(spec: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(np.float32)
    low, high = _get_limits(dtype) if dtype.itemsize <= 2 else (0, 1)
    integers = generator.integers(low, high, shape, endpoint=True)
    if spec.quantization is None:
        return integers.astype(choose_dtype(spec))
    scale, zero_point = spec.quantization
    return ((integers.astype(np.float32) - zero_point) * scale).astype(np.float32)


def _get_limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return the smallest and the largest value of an integer type, or of truth values."""
    return (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


def _format_shape(shape: Sequence[int | None]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"
