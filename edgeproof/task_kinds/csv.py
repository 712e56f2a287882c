"""Kind of task: a table of your own in a CSV file, whose columns of numbers predict one column.

`path` is one file, which is split (see data/own_splits.py), or a folder with train.csv and test.csv, and perhaps
validation.csv. The first line names the columns. Each feature is standardized by its training samples. Integers and
texts in the target column are classes, fractions are values to predict.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from edgeproof.config.own_data import OwnData
from edgeproof.core.described_tasks import TaskDescription
from edgeproof.core.errors import DataError, suggest_nearest
from edgeproof.data import own_splits
from edgeproof.data.own_data import PreparedData
from edgeproof.data.own_inputs import describe_input
from edgeproof.data.own_splits import ALL, SPLITS
from edgeproof.data.own_targets import encode_targets, guess_metric

MISSING = ("", "na", "n/a", "nan", "null", "none", "?")
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_MAX_NAMED_COLUMNS = 20

Array = np.ndarray[Any, Any]


class Options(OwnData):
    """Options of the kind, set in conf/tasks/<name>.yaml."""

    target: str = Field(min_length=1, description="the column to predict")
    features: list[str] | None = Field(
        default=None, min_length=1, description="columns to predict from; all by default"
    )
    drop: list[str] = Field(default=[], description="columns to leave out, such as an identifier")
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = Field(default=",", description="between two columns")


@dataclass(frozen=True)
class Table:
    """The content of a CSV file: the names of its columns, and the cells of each row."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def read_column(self, name: str) -> list[str]:
        """Return the cells of a column. Raises DataError for a name that the file does not have."""
        if name not in self.columns:
            shown = ", ".join(self.columns[:_MAX_NAMED_COLUMNS])
            raise DataError(
                f"{self.path} has no column '{name}'.{suggest_nearest(name, self.columns)} Columns: {shown}."
            )
        place = self.columns.index(name)
        return [row[place] for row in self.rows]


def find_metric(options: Options) -> str:
    """Return the metric of the task: the one that is named, or that of the target's values. Raises DataError."""
    if options.metric is not None:
        return options.metric
    path = next(iter(list_files(Path(options.path)).values()))
    state = path.stat()
    version = (Path.cwd(), state.st_mtime_ns, state.st_size)
    return guess_metric(_read_target_type(path, options.target, options.delimiter, version))


def read(name: str, options: Options, *, seed: int) -> PreparedData:
    """Read and split the table. Raises DataError for a file that is no table of numbers."""
    cure = f"Edit conf/tasks/{name}.yaml."
    tables = {part: read_table(path, options.delimiter) for part, path in list_files(Path(options.path)).items()}
    first = next(iter(tables.values()))
    features = _choose_features(first, options, cure)
    inputs = {part: read_features(table, features, cure) for part, table in tables.items()}
    raw_targets = {part: read_target(table, options.target) for part, table in tables.items()}
    metric, where = find_metric(options), f"column '{options.target}' of {options.path}"
    targets = encode_targets(_unify(raw_targets), metric, where, cure, is_guessed=options.metric is None)
    # Sorted by name, so that the order of the features changes no split.
    order = np.argsort(features)
    digests = {part: own_splits.digest_samples(x[:, order]) for part, x in inputs.items()}
    shares = own_splits.Shares(options.test_share, options.validation_share)
    parts = own_splits.complete_splits(digests, targets.name_classes(), shares, seed)
    splits = {
        split: (inputs[part.source][part.rows], targets.parts[part.source][part.rows]) for split, part in parts.items()
    }
    description = TaskDescription(
        name=name,
        kind="csv",
        inputs=(describe_input("features", splits["train"][0], standardize=True, tokens=False),),
        outputs=(targets.output,),
        metrics=(metric,),
        classes=targets.classes,
    )
    return PreparedData(splits, description, own_splits.note_shared_samples(digests))


def list_files(path: Path) -> dict[str, Path]:
    """Return the file of 'all', or those of 'train', 'test' and perhaps 'validation' in a folder. Raises DataError."""
    if path.is_file():
        return {ALL: path}
    for split in ("train", "test"):
        if not (path / f"{split}.csv").is_file():
            raise DataError(f"{path} is a folder without {split}.csv. Add it, or point 'path' to one CSV file.")
    return {split: file for split in SPLITS if (file := path / f"{split}.csv").is_file()}


def read_table(path: Path, delimiter: str) -> Table:
    """Read a CSV file in UTF-8. Raises DataError for an empty file, ragged rows, and columns without a name."""
    rows: list[tuple[str, ...]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            columns = tuple(cell.strip() for cell in next(reader, []))
            _check_columns(path, columns)
            for row in reader:
                if len(row) != len(columns) and row:
                    raise DataError(
                        f"{path}, line {reader.line_num} has {len(row)} cells, and the first line names {len(columns)} "
                        "columns. Repair the line, or set 'delimiter'."
                    )
                if row:  # the csv module returns an empty row for an empty line
                    rows.append(tuple(cell.strip() for cell in row))
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV file in UTF-8 ({error}). Export it again.") from error
    if not rows:
        raise DataError(f"{path} has no rows below its first line, which names the columns. Add the data.")
    return Table(path, columns, tuple(rows))


def read_features(table: Table, features: Sequence[str], cure: str) -> Array:
    """Return the columns as float32 (N, count). Raises DataError that names the first cell that is no finite number."""
    result = np.empty((len(table.rows), len(features)), np.float32)
    for place, name in enumerate(features):
        cells = table.read_column(name)
        numbers = [_parse_number(cell) for cell in cells]
        result[:, place] = numbers
        bad = np.flatnonzero(~np.isfinite(result[:, place]))
        if len(bad):
            cell = cells[bad[0]]
            problem = "is missing" if cell.lower() in MISSING else f"is '{cell[:40]}', no finite number"
            raise DataError(
                f"{table.path}: the value of '{name}' in row {bad[0] + 1} {problem} ({len(bad)} such rows). Fill in or "
                f"remove such rows, or list the column in 'drop'. {cure}"
            )
    return result


def read_target(table: Table, target: str) -> Array:
    """Return the target column: integers, floats or texts. Raises DataError for missing values."""
    cells = table.read_column(target)
    missing = [row for row, cell in enumerate(cells, 1) if cell.lower() in MISSING]
    if missing:
        raise DataError(
            f"{table.path}: label '{target}' in row {missing[0]} is missing ({len(missing)} such rows). Remove them."
        )
    if all(_INTEGER.fullmatch(cell) for cell in cells):
        return np.array([int(cell) for cell in cells], np.int64)
    numbers = np.array([_parse_number(cell) for cell in cells])
    return numbers if np.isfinite(numbers).all() else np.array(cells)


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if not columns:
        raise DataError(f"{path} is empty. The first line names the columns, the others have the data.")
    if "" in columns:
        raise DataError(f"{path}: column {columns.index('') + 1} has no name. Name it in the first line.")
    if repeated := {name for name in columns if columns.count(name) > 1}:
        raise DataError(f"{path} has several columns '{sorted(repeated)[0]}'. Rename one in the first line.")


def _choose_features(table: Table, options: Options, cure: str) -> list[str]:
    for name in [options.target, *(options.features or []), *options.drop]:
        table.read_column(name)  # raises for an unknown name
    features = options.features or [name for name in table.columns if name not in (options.target, *options.drop)]
    if options.target in features:
        raise DataError(f"the target '{options.target}' is among the features. Remove it there. {cure}")
    if not features:
        raise DataError(f"{table.path} has no column to predict '{options.target}' from. {cure}")
    return features


def _unify(parts: Mapping[str, Array]) -> dict[str, Array]:
    """Return the targets of all parts in one type: texts if one part has texts, and floats if one has floats."""
    return dict(zip(parts, np.split(np.concatenate(list(parts.values())), _find_ends(parts)), strict=True))


def _find_ends(parts: Mapping[str, Array]) -> Array:
    return np.cumsum([len(values) for values in parts.values()])[:-1]


def _parse_number(cell: str) -> float:
    """Return the number in a cell, or NaN."""
    try:
        return float(cell) if "_" not in cell else float("nan")
    except ValueError:
        return float("nan")


@functools.lru_cache(maxsize=16)
def _read_target_type(path: Path, target: str, delimiter: str, _version: tuple[Path, int, int]) -> np.dtype[Any]:
    """Return the type of the target column. It is kept, since a search composes hundreds of times."""
    dtype: np.dtype[Any] = read_target(read_table(path, delimiter), target).dtype
    return dtype
