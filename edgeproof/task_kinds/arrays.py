"""Kind of task: your own arrays in an .npz file, as numpy.savez writes it.

The file has x_train, y_train, x_test and y_test (and x_validation and y_validation, if you like), or x and y, which are
split: see data/own_splits.py. Integers or texts in y are classes, floats are values to predict.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, StringConstraints

from edgeproof.config.own_data import OwnData
from edgeproof.core.described_tasks import TaskDescription
from edgeproof.core.errors import DataError, suggest_nearest
from edgeproof.data import own_splits
from edgeproof.data.own_data import PreparedData
from edgeproof.data.own_inputs import describe_input, to_stored_type
from edgeproof.data.own_splits import ALL, SPLITS
from edgeproof.data.own_targets import encode_targets, guess_metric

Array = np.ndarray[Any, Any]
# Of each part: the inputs in the order of the options, and the targets.
Parts = dict[str, tuple[tuple[Array, ...], Array]]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+$")]


class Options(OwnData):
    """Options of the kind, set in conf/tasks/<name>.yaml."""

    inputs: list[Name] = Field(default=["x"], min_length=1, description="names of the arrays that are inputs")
    target: Name = Field(default="y", description="name of the array of targets")
    layout: Literal["channels_first", "channels_last"] | None = Field(
        default=None, description="channels_last for pictures (N, height, width, channels), which are then turned"
    )
    standardize: bool = Field(default=False, description="shift and divide each feature by its training statistics")
    tokens: bool = Field(default=False, description="the inputs are numbers of words and stay integers")


def find_metric(options: Options) -> str:
    """Return the metric of the task: the one that is named, or that of the type of the targets. Raises DataError."""
    if options.metric is not None:
        return options.metric
    path = Path(options.path)
    state = path.stat()
    return guess_metric(_read_target_type(path, options.target, (Path.cwd(), state.st_mtime_ns, state.st_size)))


def read(name: str, options: Options, *, seed: int) -> PreparedData:
    """Read and split the arrays. Raises DataError for missing arrays and for values that are no samples."""
    where, cure = options.path, f"Edit conf/tasks/{name}.yaml."
    raw = read_arrays(Path(options.path), options)
    for part, (xs, y) in raw.items():
        _check_lengths(where, part, options, xs, y)
    raw = {
        part: (tuple(_check_input(where, own, x, options, cure) for own, x in zip(options.inputs, xs, strict=True)), y)
        for part, (xs, y) in raw.items()
    }
    metric = find_metric(options)
    targets = encode_targets(
        {part: y for part, (_, y) in raw.items()},
        metric,
        f"{options.target} in {where}",
        cure,
        is_guessed=options.metric is None,
    )
    digests = {part: own_splits.digest_samples(*xs) for part, (xs, _) in raw.items()}
    shares = own_splits.Shares(options.test_share, options.validation_share)
    parts = own_splits.complete_splits(digests, targets.name_classes(), shares, seed)
    splits = {
        split: (tuple(x[part.rows] for x in raw[part.source][0]), targets.parts[part.source][part.rows])
        for split, part in parts.items()
    }
    description = TaskDescription(
        name=name,
        kind="arrays",
        inputs=tuple(
            describe_input(own, x, standardize=options.standardize, tokens=options.tokens)
            for own, x in zip(options.inputs, splits["train"][0], strict=True)
        ),
        outputs=(targets.output,),
        metrics=(metric,),
        classes=targets.classes,
    )
    return PreparedData(splits, description, own_splits.note_shared_samples(digests))


def read_arrays(path: Path, options: Options) -> Parts:
    """Return the arrays of 'all', or of 'train', 'test' and perhaps 'validation'. Raises DataError."""
    with _open(path) as content:
        wanted = [*options.inputs, options.target]
        parts = [split for split in SPLITS if any(f"{own}_{split}" in content for own in wanted)]
        suffixes = {split: f"_{split}" for split in {*parts, "train", "test"}} if parts else {ALL: ""}
        arrays: Parts = {}
        for part in sorted(suffixes):
            xs = tuple(_get_array(path, content, f"{own}{suffixes[part]}") for own in options.inputs)
            arrays[part] = (xs, _get_array(path, content, f"{options.target}{suffixes[part]}"))
    return arrays


@functools.lru_cache(maxsize=16)
def _read_target_type(path: Path, target: str, _version: tuple[Path, int, int]) -> np.dtype[Any]:
    """Return the type of the targets. It is kept, since a search composes hundreds of times."""
    with _open(path) as content:
        name = f"{target}_train" if f"{target}_train" in content else target
        dtype: np.dtype[Any] = _get_array(path, content, name).dtype
    return dtype


def _open(path: Path) -> Any:
    """Open an .npz file. Raises DataError for any other file."""
    try:
        content = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy and zipfile raise many types for damaged files
        raise DataError(f"{path} is no .npz file ({error}). Write one: numpy.savez('{path}', x=…, y=…)") from error
    if isinstance(content, np.ndarray):
        raise DataError(f"{path} is a single array. Write x and y into one file: numpy.savez('{path}', x=…, y=…)")
    return content


def _get_array(path: Path, content: Mapping[str, Array], name: str) -> Array:
    if name not in content:
        raise DataError(
            f"{path} has no array '{name}'.{suggest_nearest(name, content)} It has: {', '.join(content) or 'none'}. "
            "Needed are x_train, y_train, x_test and y_test, or x and y; 'inputs' and 'target' name others."
        )
    try:
        return np.asarray(content[name])
    except Exception as error:  # numpy and zipfile raise many types for damaged files
        raise DataError(f"{path}: the array '{name}' can't be read ({error}). Store plain numbers or texts.") from error


def _check_lengths(where: str, part: str, options: Options, inputs: tuple[Array, ...], targets: Array) -> None:
    arrays = dict(zip([*options.inputs, options.target], [*inputs, targets], strict=True))
    if any(array.ndim == 0 for array in arrays.values()) or len({len(array) for array in arrays.values()}) != 1:
        shapes = ", ".join(f"{own} {array.shape}" for own, array in arrays.items())
        raise DataError(f"{where} ({part}) has arrays of different lengths: {shapes}. Each needs one entry a sample.")
    if not len(targets):
        raise DataError(f"{where} ({part}) has no samples. Add some, or leave these arrays out.")


def _check_input(where: str, name: str, values: Array, options: Options, cure: str) -> Array:
    """Return raw inputs in the stored type and with the channels first. Raises DataError."""
    allowed = "iu" if options.tokens else "fiub"
    if values.dtype.kind not in allowed:
        needed = "integers, because 'tokens' is true," if options.tokens else "numbers"
        raise DataError(f"{name} in {where} holds {values.dtype}, and {needed} are needed. {cure}")
    if values.ndim < 2:
        raise DataError(f"{name} in {where} has the shape {values.shape}, and (N, …) is needed: {name}.reshape(-1, 1)?")
    is_last = values.ndim == 4 and values.shape[-1] in (1, 3, 4) and values.shape[1] not in (1, 3, 4)
    if options.layout is None and is_last:
        raise DataError(
            f"{name} in {where} has the shape {values.shape}, which looks like pictures with channels last. Add "
            f"'layout: channels_last', or 'layout: channels_first' if it has {values.shape[1]} channels. {cure}"
        )
    if options.layout == "channels_last" and values.ndim > 2:
        values = np.moveaxis(values, -1, 1)
    stored = to_stored_type(values, tokens=options.tokens)
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        row = int(np.flatnonzero(~np.isfinite(stored.reshape(len(stored), -1)).all(axis=1))[0])
        raise DataError(f"{name} in {where} holds NaN or infinity in row {row}. Fill in or remove such samples.")
    return np.ascontiguousarray(stored)
