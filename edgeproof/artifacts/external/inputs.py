"""What a brought file is fed: the arrays of an .npz, checked against what the file takes, or random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.bench.session import Samples
from edgeproof.core.artifacts import TensorSpec
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ConfigError, suggest_nearest

SEED = 0
RANDOM_SAMPLES = 32
ARRAYS = ("x", "y")
DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64")
RANDOM = f"random inputs, seed {SEED}"

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ExternalData:
    """Inputs x (N, *input_shape) and labels y (N,) that a user gave, and the file they came from."""

    path: Path
    x: Array
    y: Array | None

    @property
    def description(self) -> str:
        """What records call it: another content is another task."""
        return f"{self.path.name} {hash_file(self.path)[:12]}"


def read_data(path: Path) -> ExternalData:
    """Read an .npz with x and perhaps y. Raises ConfigError for what is no such file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist. --data names an .npz with x and perhaps y.") from None
    except Exception as error:  # a damaged archive raises whatever it was damaged in, and an .npy has no names
        raise ConfigError(
            f"{path} can't be read as an .npz ({type(error).__name__}: {error}). "
            "Write it with numpy.savez(path, x=inputs, y=labels), without objects."
        ) from None
    for name in found:
        if name not in ARRAYS:
            raise ConfigError(f"{path} holds an array '{name}'.{suggest_nearest(name, ARRAYS)} It may hold x and y alone.")
    if "x" not in found:
        raise ConfigError(f"{path} holds no x: the inputs, one row a sample.")
    return ExternalData(path, _inputs(path, found["x"]), _labels(path, found["x"], found["y"]) if "y" in found else None)


def infer_input_shape(port: TensorSpec, data: ExternalData | None, where: str) -> tuple[int, ...]:
    """The shape of one sample with its batch axis; what the file leaves open is taken from the data.

    Raises ConfigError where the file takes no single sample, or takes others than the data's.
    """
    declared = ["?" if size is None else size for size in port.shape]
    if not port.shape or port.shape[0] not in (None, 1):
        raise ConfigError(
            f"{where} takes inputs of shape {_shown(declared)}: the first axis must be a batch of 1, or left open, "
            "since one sample an inference is measured. Export it again so."
        )
    if data is None:
        if None in port.shape[1:]:
            raise ConfigError(
                f"{where} takes inputs of shape {_shown(declared)} and leaves more than the batch open. "
                "Give inputs of the shape to measure with --data."
            )
        return (1, *(size for size in port.shape[1:] if size is not None))
    given = data.x.shape[1:]
    if len(given) != len(port.shape) - 1 or any(a not in (None, b) for a, b in zip(port.shape[1:], given, strict=True)):
        raise ConfigError(
            f"x in {data.path} has samples of shape {_shown(given)}, and {where} takes {_shown(declared[1:])}: "
            "give them in the file's own layout, (N, ...)."
        )
    return (1, *given)


def prepare_samples(port: TensorSpec, shape: Sequence[int], data: ExternalData | None, where: str) -> Samples:
    """What a file with this input is fed, as float32 (N, *shape[1:]), and the labels that are known."""
    if port.dtype not in DTYPES:
        raise ConfigError(f"{where} takes {port.dtype}: inputs may be {', '.join(DTYPES)}.")
    if data is None:
        return Samples(_random(port, shape), None)
    return Samples(_fitting(port, data, where), data.y)


def check_labels(labels: Array | None, output_shape: Sequence[int], where: str) -> None:
    """Raises ConfigError where labels can't be compared with the highest of a file's outputs."""
    if labels is None:
        return
    longer = [size for size in output_shape[1:] if size > 1]
    if len(longer) != 1:
        raise ConfigError(
            f"{where} answers with shape {_shown(output_shape)}: y is compared with the highest of one row of values. "
            "Leave y out of --data to measure without accuracy."
        )
    if labels.max() >= longer[0]:
        raise ConfigError(
            f"y in --data goes up to {labels.max()}, and {where} has {longer[0]} classes: "
            f"labels are whole numbers from 0 to {longer[0] - 1}."
        )


def _inputs(path: Path, x: Array) -> Array:
    if x.dtype.kind not in "fiu":
        raise ConfigError(f"x in {path} is of {x.dtype}: give numbers, such as float32.")
    if x.ndim == 0 or not x.size:
        raise ConfigError(f"x in {path} has shape {_shown(x.shape)}: give one row a sample, at least one.")
    if not np.isfinite(x).all():
        raise ConfigError(f"x in {path} holds NaN or infinity.")
    return x


def _labels(path: Path, x: Array, y: Array) -> Array:
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise ConfigError(
            f"y in {path} is of {y.dtype} with shape {_shown(y.shape)}: give one whole number for each of the "
            f"{len(x)} rows of x."
        )
    if y.min() < 0:
        raise ConfigError(f"y in {path} goes down to {y.min()}: labels are whole numbers from 0.")
    return y.astype(np.int64)


def _fitting(port: TensorSpec, data: ExternalData, where: str) -> Array:
    """The given inputs as float32, once it is sure that the file's own type can take what they say."""
    x = data.x
    with np.errstate(over="ignore"):  # told below
        given = np.ascontiguousarray(x, np.float32)
    if port.quantization is not None and x.dtype.kind != "f":
        scale, zero = port.quantization
        raise ConfigError(
            f"x in {data.path} is of {x.dtype}, and {where} takes quantized {port.dtype}: give the numbers that stand "
            f"for them, as float32; integers q stand for (q - {zero}) * {scale!r}."
        )
    if not np.isfinite(given).all():
        raise ConfigError(f"x in {data.path} exceeds float32, in which inputs are fed.")
    if port.quantization is not None or np.dtype(port.dtype).kind == "f":
        return given
    limits = np.iinfo(port.dtype)
    if (given != x).any() or (np.rint(given) != given).any() or given.min() < limits.min or given.max() > limits.max:
        raise ConfigError(
            f"{where} takes {port.dtype}, and x in {data.path} holds numbers that are not whole, outside "
            f"{limits.min}..{limits.max}, or beyond 2**24, above which float32 skips some."
        )
    return given


def _random(port: TensorSpec, shape: Sequence[int]) -> Array:
    """Deterministic inputs: normal ones, or all that 8 or 16 bits can say; 0 and 1 where integers may be indices."""
    generator = np.random.default_rng(SEED)
    whole = (RANDOM_SAMPLES, *shape[1:])
    dtype = np.dtype(port.dtype)
    if dtype.kind == "f":
        return generator.standard_normal(whole).astype(np.float32)
    limits = np.iinfo(dtype)
    low, high = (limits.min, limits.max) if dtype.itemsize <= 2 else (0, 1)
    drawn = generator.integers(low, high, whole, endpoint=True).astype(np.float32)
    if port.quantization is None:
        return drawn
    scale, zero = port.quantization
    return ((drawn - zero) * scale).astype(np.float32)


def _shown(shape: Sequence[Any]) -> str:
    return f"({', '.join(map(str, shape))})"
