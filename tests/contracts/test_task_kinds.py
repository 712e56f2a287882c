"""The contract of kinds of tasks: data is prepared, a small network is trained, and a device's part can preprocess."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edgeproof.config import task_kinds
from edgeproof.core import plugins
from edgeproof.core.described_tasks import FILE, load_task
from edgeproof.core.directories import content_sha256, read_meta
from edgeproof.data import own_data, preparation
from edgeproof.data.task_quality import load_task_quality
from edgeproof.models import frameworks, task_loading
from edgeproof.models.model_files import NetworkSpec
from edgeproof.models.training import Recipe, fit
from tests.support.own_data import make_params, write_csv, write_pictures
from tests.support.project import ROOT

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

RECIPE = Recipe(epochs=30, batch_size=16, optimizer="adamw", learning_rate=0.02, momentum=0.9, weight_decay=0.0)
# The network, its options, and the least quality of a network that has learned: random ones are at 1/3.
CASES = {
    "image_folder": ("cnn2", {"widths": [4, 8], "hidden": 16, "padding": 2}, 0.9),
    "arrays": ("mlp", {"hidden": [16]}, 0.9),
    "csv": ("mlp", {"hidden": [16]}, 0.9),
}
RANDOM = np.random.default_rng(0)
LABELS = np.arange(120) % 3
FEATURES = (np.eye(3)[LABELS] * 4 + RANDOM.standard_normal((120, 3)) * 0.5 + 50).round(4)


def write_image_folder(root: Path) -> dict[str, Any]:
    write_pictures(root / "pictures", {"red": 40, "green": 40, "blue": 40}, size=(10, 9))
    return {"path": root / "pictures", "size": [8, 8]}


def write_arrays(root: Path) -> dict[str, Any]:
    np.savez(root / "data.npz", x=FEATURES, y=LABELS)
    return {"path": root / "data.npz", "standardize": True}


def write_table(root: Path) -> dict[str, Any]:
    rows = [[*row, "abc"[label]] for row, label in zip(FEATURES.tolist(), LABELS, strict=True)]
    return {"path": write_csv(root / "data.csv", ["a", "b", "c", "label"], rows), "target": "label"}


WRITERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "image_folder": write_image_folder,
    "arrays": write_arrays,
    "csv": write_table,
}


@pytest.fixture(params=plugins.list_names("task_kinds"))
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Prepare the data of each kind as the task 'mine' of a project, and return the kind."""
    monkeypatch.chdir(tmp_path)
    own_data.prepare(make_params(request.param, **WRITERS[request.param](tmp_path)))
    return str(request.param)


def test_a_small_network_learns_the_task_and_its_quality_is_measured(kind: str) -> None:
    name, options, least = CASES[kind]
    frameworks.make_deterministic(name, 0, 1)
    task = task_loading.load_training_task("mine", 0, 1)
    module = NetworkSpec(name, options, task.inputs, task.outputs).build()
    quality = frameworks.measure_quality(fit(module, task, RECIPE), task)
    assert quality >= least
    inputs, targets = preparation.load_split("mine", "test")
    outputs = frameworks.predict(module.eval(), inputs)
    assert load_task_quality("mine").measure(inputs, outputs, targets) >= least


def test_prepared_data_is_reproducible_and_split_by_the_seed(kind: str, tmp_path: Path) -> None:
    hashes = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        params = make_params(kind, **WRITERS[kind](tmp_path)).model_copy(update={"seed": seed})
        own_data.prepare(params, tmp_path / place)
        hashes.append([content_sha256(read_meta(tmp_path / place / "mine" / part)) for part in ("build", "test")])
    assert hashes[0] == hashes[1]
    assert hashes[0][0] != hashes[2][0]
    tests = [np.load(tmp_path / place / "mine" / "test" / "test_x.npy") for place in ("a", "c")]
    np.testing.assert_array_equal(*tests)


def test_calibration_samples_are_training_samples_as_many_as_there_are(kind: str) -> None:
    (calibration,) = preparation.load_calibration("mine")
    (train,), _ = preparation.load_split("mine", "train")
    np.testing.assert_array_equal(calibration, train)


def test_a_device_preprocesses_raw_inputs_with_the_description_alone(kind: str) -> None:
    raw = np.load("data/mine/test/test_x.npy")
    bundle = Path("bundle")
    bundle.mkdir()
    (bundle / FILE).write_text(Path("data/mine/build", FILE).read_text())
    ((expected,), _) = preparation.load_split("mine", "test")
    np.testing.assert_array_equal(load_task("mine", bundle).preprocess(raw), expected)
    assert len(json.loads((bundle / FILE).read_text())["classes"]) == 3


def test_a_kind_has_options_with_descriptions(kind: str) -> None:
    options = plugins.load("task_kinds", kind).Options
    assert all(field.description for field in options.model_fields.values())


def test_the_tasks_in_the_documentation_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "own_data" / "flowers", {"daisy": 1, "tulip": 1})
    np.savez("own_data/sensor.npz", x=FEATURES, y=LABELS)
    write_csv(tmp_path / "own_data" / "houses.csv", ["address", "rooms", "price"], [["a", 2, 1000]])
    text = (ROOT / "docs" / "your_own_data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- task: (\w+) -->\n```yaml\n(.*?)```", text, re.DOTALL)
    tasks = {name: task_kinds.expand_task(name, yaml.safe_load(block), 0) for name, block in blocks}
    assert {task["kind"]: task["metric"] for task in tasks.values()} == {
        "image_folder": "accuracy", "arrays": "accuracy", "csv": "rmse",
    }  # fmt: skip


@pytest.mark.parametrize("kind", plugins.list_names("task_kinds"))
def test_every_option_of_a_kind_is_documented(kind: str) -> None:
    text = (ROOT / "docs" / "your_own_data.md").read_text(encoding="utf-8")
    for name in plugins.load("task_kinds", kind).Options.model_fields:
        assert f"`{name}`" in text or f"\n{name}: " in text, name
