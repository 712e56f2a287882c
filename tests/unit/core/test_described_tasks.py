"""Tasks that a task.json describes: they survive JSON, and a damaged file is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core import described_tasks
from edgeproof.core.described_tasks import DescribedInput, TaskDescription, load_task
from edgeproof.core.directories import write_json
from edgeproof.core.errors import ArtifactError, UnknownNameError
from edgeproof.core.ports import Port

DESCRIPTION = TaskDescription(
    name="mine",
    kind="arrays",
    inputs=(DescribedInput(Port("a", (2,)), [1.0, 2.0], [2.0, 4.0]), DescribedInput(Port("b", (3,), "int64"))),
    outputs=(Port("logits", (2,)),),
    metrics=("accuracy",),
    classes=("no", "yes"),
)


def test_a_description_survives_json() -> None:
    assert TaskDescription.from_json(json.loads(json.dumps(DESCRIPTION.to_json()))) == DESCRIPTION


@pytest.mark.parametrize("place", ["", "build", "test"])
def test_a_description_is_found_beside_the_data_and_takes_the_place_of_a_module(place: str, tmp_path: Path) -> None:
    write_json(tmp_path / place / described_tasks.FILE, DESCRIPTION.to_json())
    task = load_task("digits", tmp_path)
    assert [port.name for port in task.INPUTS] == ["a", "b"]
    a, b = task.preprocess((np.array([[3, 10]]), np.array([[1, 2, 3]])))
    np.testing.assert_array_equal(a, np.array([[1, 2]], np.float32))
    assert (a.dtype, b.dtype) == (np.float32, np.int64)
    assert not hasattr(task, "loss")


def test_a_task_without_a_description_is_its_module(tmp_path: Path) -> None:
    assert load_task("digits", tmp_path).VIEWS == 5
    with pytest.raises(UnknownNameError):
        load_task("mine", tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2}', json.dumps(DESCRIPTION.to_json() | {"inputs": [{}]})]
)
def test_a_damaged_description_is_refused_with_the_next_command(text: str, tmp_path: Path) -> None:
    (tmp_path / described_tasks.FILE).write_text(text)
    with pytest.raises(ArtifactError, match=r"describes no task .*dvc repro prepare"):
        load_task("mine", tmp_path)


def test_another_number_of_arrays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 arrays given, and task 'mine' takes 2"):
        described_tasks.make_task(DESCRIPTION).preprocess(np.zeros((1, 2)))
