"""Tasks that are described by a file, task.json, instead of a module: those of a user's own data.

A kind of task, such as edgeproof/task_kinds/image_folder.py, reads the data when it is prepared, and describes what
later stages need to know: inputs, outputs, metric and classes. The description lies beside the prepared data and in
bundles, so that a device needs neither the kind's code nor the data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.errors import ArtifactError
from edgeproof.core.ports import Port

FILE = "task.json"
SCHEMA = 1
# Where the description may lie below a directory: a bundle's root, or the parts of prepared data.
_PLACES = ("", "build", "test")

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class DescribedInput:
    """An input: its port, and the offset and divisor of preprocessing, which are None for an input that is unchanged.

    A float32 input becomes (raw − offset) / divisor. Both are numbers, or nested lists that numpy broadcasts.
    """

    port: Port
    offset: Any = None
    divisor: Any = None

    def preprocess(self, raw: Array) -> Array:
        """Return raw values (N, *shape) in the type of the port, scaled."""
        array = np.asarray(raw).astype(self.port.dtype)
        if self.offset is not None:
            array = (array - np.asarray(self.offset, array.dtype)) / np.asarray(self.divisor, array.dtype)
        return array


@dataclass(frozen=True)
class TaskDescription:
    """A task as data.

    Attributes:
        name, kind: its name, and the file in edgeproof/task_kinds that read its data.
        inputs, outputs: what networks take and give. A regression has one output of values.
        metrics: files in edgeproof/metrics, the first of which is the task's quality.
        classes: the names of the classes in the order of the outputs; empty for a regression.
        mirror: True if a mirrored picture has the same target, so that training sees both.
    """

    name: str
    kind: str
    inputs: tuple[DescribedInput, ...]
    outputs: tuple[Port, ...]
    metrics: tuple[str, ...]
    classes: tuple[str, ...] = field(default=())
    mirror: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the content of task.json."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "kind": self.kind,
            "inputs": [
                {**entry.port.to_json(), "offset": entry.offset, "divisor": entry.divisor} for entry in self.inputs
            ],
            "outputs": [port.to_json() for port in self.outputs],
            "metrics": list(self.metrics),
            "classes": list(self.classes),
            "mirror": self.mirror,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TaskDescription:
        """Return the description in a task.json. Raises KeyError, TypeError or ValueError for another content."""
        if content["schema"] != SCHEMA:
            raise ValueError(f"its schema is {content['schema']}, not {SCHEMA}")
        return cls(
            name=str(content["name"]),
            kind=str(content["kind"]),
            inputs=tuple(
                DescribedInput(Port.from_json(entry), entry["offset"], entry["divisor"]) for entry in content["inputs"]
            ),
            outputs=tuple(Port.from_json(entry) for entry in content["outputs"]),
            metrics=tuple(map(str, content["metrics"])),
            classes=tuple(map(str, content["classes"])),
            mirror=bool(content["mirror"]),
        )


def load_task(name: str, directory: Path) -> Any:
    """Return a task: what task.json below `directory` describes, or else the module of the task's file.

    Both have the attributes that docs/extending.md lists, such as INPUTS and preprocess(). Raises UnknownNameError if
    there is neither, and ArtifactError for a damaged description.
    """
    path = find_description(directory)
    if path is None:
        return plugins.load("tasks", name)
    return make_task(read_description(path))


def find_description(directory: Path) -> Path | None:
    """Return the path of the task.json below `directory`, or None."""
    return next((path for place in _PLACES if (path := directory / place / FILE).is_file()), None)


def locate_definition(name: str, directory: Path) -> Path:
    """Return the file that defines a task: the task.json below `directory`, or the task's module."""
    return find_description(directory) or plugins.find_source("tasks", name)


def read_description(path: Path) -> TaskDescription:
    """Read a task.json. Raises ArtifactError."""
    try:
        return TaskDescription.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(
            f"{path} describes no task ({type(error).__name__}: {error}). Prepare the data again: 'dvc repro prepare'."
        ) from error


def make_task(description: TaskDescription) -> SimpleNamespace:
    """Return a described task with the attributes that a task's module has."""
    functions: dict[str, Any] = {}
    if not description.classes:
        functions = {"loss": compute_squared_error, "distillation_loss": compare_values}
    return SimpleNamespace(
        INPUTS=tuple(entry.port for entry in description.inputs),
        OUTPUTS=description.outputs,
        METRICS=description.metrics,
        VIEWS=2 if description.mirror else 1,
        CLASSES=description.classes,
        preprocess=partial(_preprocess, description),
        view=_mirror,
        **functions,
    )


def compute_squared_error(outputs: Any, targets: Any, inputs: Any) -> Any:
    """Return the mean squared error of tensors: the loss of a regression."""
    return (outputs - targets).square().mean()


def compare_values(outputs: Any, teacher_outputs: Any) -> Any:
    """Return the mean squared difference between a student's and a teacher's values."""
    return (outputs - teacher_outputs).square().mean()


def _preprocess(description: TaskDescription, raw: Any) -> Any:
    arrays = raw if isinstance(raw, tuple) else (raw,)
    if len(arrays) != len(description.inputs):
        raise ValueError(f"{len(arrays)} arrays given, and task '{description.name}' takes {len(description.inputs)}")
    results = tuple(entry.preprocess(array) for entry, array in zip(description.inputs, arrays, strict=True))
    return results if len(results) > 1 else results[0]


def _mirror(x: Any, k: int) -> Any:
    """Return the samples themselves, or for k = 1 pictures (N, C, H, W) that are mirrored."""
    return x if k == 0 else x.flip(-1)
