"""Kinds of tasks, which read a user's own data: conf/tasks/<name>.yaml names the kind and its options, and no code.

A kind is a file in edgeproof/tasks with a class Options, derived from OwnData, and two functions:

    find_metric(options) -> str                    the metric, before anything is prepared
    read(name, options, *, seed) -> PreparedData   the samples of each split, and the description of the task
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, create_model

from edgeproof.config.params import Samples
from edgeproof.config.study import TaskDefinition
from edgeproof.config.task_metric import load_task_metric
from edgeproof.config.validation import Frozen, Id, validate
from edgeproof.core import plugins
from edgeproof.core.described_tasks import TaskDescription
from edgeproof.core.errors import ConfigError, DataError, UnknownNameError
from edgeproof.paths import DATA

KIND = "kind"

Array = np.ndarray[Any, Any]
Share = Annotated[float, Field(gt=0, lt=1)]


class KindSettings(Frozen):
    """The keys of conf/tasks/<name>.yaml that all kinds share."""

    RENAMED_KEYS: ClassVar[dict[str, str]] = {"accuracy_target": "quality_target", "accuracy": "quality_target"}

    kind: Id
    train_samples: Samples | None = None
    calibration_samples: Samples | None = None
    quality_target: float
    quality_floor: float | None = None


class OwnData(Frozen):
    """Options of every kind: where the data is, and the shares that are split off where it has no splits of its own."""

    path: str = Field(min_length=1, description="the file or folder of the data")
    validation_share: Share = Field(default=0.1, description="share of the training samples to validate with")
    test_share: Share = Field(default=0.2, description="share of all samples to test with, if no test data is given")
    metric: Id | None = Field(default=None, description="a file in edgeproof/metrics; by default that of the data")


@dataclass(frozen=True)
class PreparedData:
    """The data that a kind has read.

    Attributes:
        splits: raw inputs (an array, or a tuple of several) and targets of train, validation and test.
        description: what later stages need to know of the task.
        notes: facts about the data that a user should know, one sentence each.
    """

    splits: Mapping[str, tuple[Any, Array]]
    description: TaskDescription
    notes: tuple[str, ...] = ()


def is_kind(path: Path) -> bool:
    """Return True if a file in edgeproof/tasks is a kind: it has a class Options. The file is not imported."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.ClassDef) and node.name == "Options" for node in body)


def list_kinds() -> list[str]:
    """Return the names of all kinds."""
    return [name for name in plugins.list_names("tasks") if is_kind(plugins.find_source("tasks", name))]


def list_own_tasks(directories: Sequence[Path]) -> list[Path]:
    """Return the YAML files of the tasks that have no file of their own, in conf/ and the conf/ of external plugins."""
    modules = plugins.list_names("tasks")
    paths = [path for directory in directories for path in sorted((directory / "tasks").glob("*.yaml"))]
    return [path for path in paths if path.stem not in modules]


def find_kind(content: Any) -> str | None:
    """Return the kind that the content of a conf/tasks/<name>.yaml names, or None for a task with a file of its own."""
    return str(content[KIND]) if isinstance(content, Mapping) and KIND in content else None


def expand_task(name: str, content: Any, seed: int) -> dict[str, Any]:
    """Return the entry `task` of params.yaml from the content of conf/tasks/<name>.yaml.

    Raises ConfigError for wrong keys, and DataError if the path of a kind does not exist.
    """
    where = f"conf/tasks/{name}.yaml"
    kind = find_kind(content)
    if kind is None:
        definition = validate(TaskDefinition, content, where)
        metric, _ = load_task_metric(name)
        return {**definition.model_dump(mode="json"), "name": name, "kind": name, "metric": metric, "seed": seed}
    plugin = load_kind(name, kind)
    merged = create_model("Definition", __base__=(KindSettings, plugin.Options))
    checked = validate(merged, content, where).model_dump(mode="json")
    options = {key: checked[key] for key in plugin.Options.model_fields}
    _check_path(name, options["path"])
    return {
        **{key: checked[key] for key in KindSettings.model_fields},
        "options": options,
        "depends_on": options["path"],
        "name": name,
        "metric": plugin.find_metric(plugin.Options(**options)),
        "seed": seed,
    }


def load_kind(name: str, kind: str) -> Any:
    """Return the module of the kind of task `name`. Raises UnknownNameError, or ConfigError for an unsuitable name."""
    kinds = list_kinds()
    if kind not in kinds:
        raise UnknownNameError("kind of task", kind, kinds, f"Change 'kind' in conf/tasks/{name}.yaml.")
    if name in plugins.list_names("tasks"):
        raise ConfigError(
            f"conf/tasks/{name}.yaml names the kind '{kind}', and '{name}' is the name of a file in edgeproof/tasks. "
            f"Rename the YAML file, such as conf/tasks/my_{name}.yaml."
        )
    return plugins.load("tasks", kind)


def _check_path(name: str, path: str) -> None:
    """Check that the data exists and that prepared data is not written into it. Raises ConfigError and DataError."""
    where = f"conf/tasks/{name}.yaml"
    data, prepared = Path(path).resolve(), (DATA / name).resolve()
    if path != path.strip() or path.startswith("~"):
        raise ConfigError(f"{where}: path '{path}' must be absolute or relative to the project, without '~'.")
    if data.is_relative_to(prepared) or prepared.is_relative_to(data):
        raise ConfigError(
            f"{where}: path '{path}' overlaps with {DATA / name}, where edgeproof writes the prepared data. Move your "
            f"data elsewhere, such as own_data/{name}, and change 'path'."
        )
    if not data.exists():
        raise DataError(f"{where}: there is no '{path}' in {Path.cwd()}. Put your data there, or change 'path'.")
