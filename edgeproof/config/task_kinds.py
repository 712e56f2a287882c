"""Expand conf/tasks/<name>.yaml: a task with a Python file, or one of the user's own data, whose YAML names a kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import create_model

from edgeproof.config.params import Samples
from edgeproof.config.study import TaskDefinition
from edgeproof.config.task_metric import load_task_metric
from edgeproof.config.validation import Frozen, Id, validate
from edgeproof.core import plugins
from edgeproof.core.errors import ConfigError, DataError
from edgeproof.paths import DATA

KIND = "kind"


class KindSettings(Frozen):
    """The keys of conf/tasks/<name>.yaml that all kinds share, beside the options of the kind."""

    RENAMED_KEYS: ClassVar[dict[str, str]] = {"accuracy_target": "quality_target", "accuracy": "quality_target"}

    kind: Id
    train_samples: Samples | None = None
    calibration_samples: Samples | None = None
    quality_target: float
    quality_floor: float | None = None


def find_kind(content: Any) -> str | None:
    """Return the kind that the content of a conf/tasks/<name>.yaml names, or None for a task with a Python file."""
    return str(content[KIND]) if isinstance(content, Mapping) and KIND in content else None


def list_own_tasks(directories: Sequence[Path]) -> list[Path]:
    """Return the YAML files of tasks without a Python file, in conf/ and in the conf/ of external plugins."""
    modules = plugins.list_names("tasks")
    paths = [path for directory in directories for path in sorted((directory / "tasks").glob("*.yaml"))]
    return [path for path in paths if path.stem not in modules]


def expand_task(name: str, content: Any, seed: int) -> dict[str, Any]:
    """Return the entry `task` of params.yaml from the content of conf/tasks/<name>.yaml.

    Raises ConfigError for wrong keys, and DataError if the path of a kind does not exist.
    """
    where = f"conf/tasks/{name}.yaml"
    kind = find_kind(content)
    if kind is None:
        definition = validate(TaskDefinition, content, where)
        metric, _ = load_task_metric(name)
        return {**definition.model_dump(mode="json"), "name": name, "module": name, "metric": metric, "seed": seed}
    if name in plugins.list_names("tasks"):
        raise ConfigError(
            f"{where} names the kind '{kind}', but '{name}' is a task with a Python file. Rename the YAML file, "
            f"such as conf/tasks/my_{name}.yaml."
        )
    plugin = plugins.load("task_kinds", kind)
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
