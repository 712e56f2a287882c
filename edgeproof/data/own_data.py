"""Prepare the data of a task that a kind reads (edgeproof/task_kinds): the user's own data.

A kind has a class Options, derived from OwnData, and two functions:

    find_metric(options) -> str                    the metric, before anything is prepared
    read(name, options, *, seed) -> PreparedData   the samples of each split, and the description of the task
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.config.params import TaskParams
from edgeproof.config.validation import validate
from edgeproof.core import plugins
from edgeproof.core.described_tasks import TaskDescription, make_task
from edgeproof.data import preparation
from edgeproof.paths import DATA

Array = np.ndarray[Any, Any]


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


def prepare(task: TaskParams, root: Path = DATA) -> list[str]:
    """Read, split and store the data of a task with options of a kind. Return notes for the user.

    Raises DataError for data that the kind can't read.
    """
    kind = plugins.load("task_kinds", task.kind)
    options = validate(kind.Options, task.options, f"params.yaml, options of task '{task.name}'")
    prepared: PreparedData = kind.read(task.name, options, seed=task.seed)
    plugin = make_task(prepared.description)
    preparation.store_splits(task, plugin, dict(prepared.splits), root, prepared.description)
    return list(prepared.notes)
