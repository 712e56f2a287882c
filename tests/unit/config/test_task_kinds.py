"""Tasks of a user's own data in a study: conf/tasks/<name>.yaml names a kind, and no code is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.config import task_kinds
from edgeproof.config.params import NO_OWN_DATA, TaskParams
from edgeproof.core.errors import ConfigError, DataError, UnknownNameError
from tests.support import study_contents
from tests.support.own_data import write_pictures

FLOWERS = {"kind": "image_folder", "path": "pictures", "size": [8, 8], "quality_target": 0.8}


@pytest.fixture
def _in_empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "pictures", {"red": 1, "blue": 1})


pytestmark = pytest.mark.usefixtures("_in_empty_project")


def test_a_task_of_a_kind_has_the_options_of_the_kind_and_depends_on_its_data() -> None:
    task = TaskParams.model_validate(task_kinds.expand_task("flowers", FLOWERS, 7))
    assert (task.name, task.kind, task.module, task.metric, task.seed) == (
        "flowers", "image_folder", "__init__", "accuracy", 7,
    )  # fmt: skip
    assert task.depends_on == "pictures"
    assert task.options is not None
    assert (task.options["size"], task.options["channels"], task.options["test_share"]) == ([8, 8], 3, 0.2)
    assert task.list_file_groups() == []


def test_a_study_of_a_kind_composes(content: dict[str, Any], project_root: Path, tmp_path: Path) -> None:
    content["task"] = "flowers"
    content["tasks"]["flowers"] = {**FLOWERS, "path": str(tmp_path / "pictures")}
    params = study_contents.expand(content)
    assert (params.task.kind, params.task.quality_target) == ("image_folder", 0.8)
    assert params.train["teacher"].inputs.parent == "data/flowers/build"


def test_the_metric_of_arrays_is_that_of_their_targets(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=np.zeros(4))
    content = {"kind": "arrays", "path": "a.npz", "quality_target": 1.5}
    assert task_kinds.expand_task("mine", content, 0)["metric"] == "rmse"
    assert task_kinds.expand_task("mine", {**content, "metric": "macro_f1"}, 0)["metric"] == "macro_f1"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"kind": "image_foldr"}, UnknownNameError, "Did you mean 'image_folder'"),
        ({"sise": [8, 8]}, ConfigError, "sise: unknown key. Did you mean 'size'"),
        ({"quality_targt": 1.0}, ConfigError, "quality_targt: unknown key. Did you mean 'quality_target'"),
        ({"accuracy": 0.9}, ConfigError, "It is now called 'quality_target'"),
        ({"size": [8]}, ConfigError, "size: "),
        ({"size": [0, 8]}, ConfigError, "size.0: "),
        ({"channels": 2}, ConfigError, "channels: "),
        ({"test_share": 1.0}, ConfigError, "test_share: "),
        ({"path": "nowhere"}, DataError, "there is no 'nowhere' in .*Put your data there, or change 'path'"),
        ({"path": "~/pictures"}, ConfigError, "without '~'"),
        ({"path": "data/flowers"}, ConfigError, "overlaps with data/flowers.*own_data/flowers"),
        ({"path": "data/flowers/raw"}, ConfigError, "overlaps with data/flowers"),
        ({"path": "."}, ConfigError, "overlaps with data/flowers"),
    ],
)
def test_a_wrong_definition_names_the_key_and_the_next_step(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        task_kinds.expand_task("flowers", {**FLOWERS, **changes}, 0)


def test_a_task_of_a_kind_can_not_have_the_name_of_a_file() -> None:
    with pytest.raises(ConfigError, match=r"Rename the YAML file, such as conf/tasks/my_digits\.yaml"):
        task_kinds.expand_task("digits", FLOWERS, 0)


def test_a_task_with_a_file_needs_its_files_and_depends_on_no_own_data() -> None:
    plain: dict[str, Any] = {"name": "digits", "module": "digits", "quality_target": 0.9, "seed": 0}
    with pytest.raises(ValueError, match=r"task\.sources, task\.files"):
        TaskParams.model_validate(plain)
    with pytest.raises(ValueError, match="a task has both or none"):
        TaskParams.model_validate({**plain, "kind": "csv"})
    files = {"sources": [{"kind": "folder", "path": "x"}], "files": {"a": "0" * 64}}
    numbers = {"validation_samples": 1, "calibration_samples": 1}
    assert TaskParams.model_validate({**plain, **files, **numbers}).depends_on == NO_OWN_DATA


def test_own_tasks_are_the_yaml_files_without_a_module(tmp_path: Path) -> None:
    (tmp_path / "conf" / "tasks").mkdir(parents=True)
    for name in ("flowers", "digits"):
        (tmp_path / "conf" / "tasks" / f"{name}.yaml").write_text("kind: csv\n")
    assert [path.stem for path in task_kinds.list_own_tasks([tmp_path / "conf"])] == ["flowers"]
