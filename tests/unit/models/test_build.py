"""Build models of a study: one for each seed, from the parent and teachers of the same seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from edgeproof.config.params import ModelParams, Params
from edgeproof.core import directories
from edgeproof.core.errors import ConfigError
from edgeproof.models import build, model_files
from tests.support import tiny_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

NETWORK = """
from torch import nn
def build(inputs, outputs): return nn.Sequential(nn.Flatten(), nn.Linear(8, outputs[0].size, bias=False))
"""
# Every method stores its input as a weight: the seed, or a sum of the weights that it starts from.
METHOD = """
import torch
from pydantic import BaseModel
class Options(BaseModel): pass
def apply(model, task{keyword}):
    with torch.no_grad():
        model[1].weight.copy_({value})
    return model
"""
METHOD_WITH_LAYER = """
from pydantic import BaseModel
from edgeproof.models.layer_outputs import record_outputs
class Options(BaseModel):
    student_layers: list[str]
    rate: float = 0.5
def apply(model, task, *, student_layers, rate):
    with record_outputs(model, student_layers):
        return model
"""
METHODS = {
    "count": ("", "torch.full_like(model[1].weight, task.seed)"),
    "follow": ("", "model[1].weight + 100"),
    "learn": (", *, teacher", "teacher[1].weight + 1000"),
    "learn_all": (", *, teachers", "sum(teacher[1].weight for teacher in teachers)"),
    "ask": ("", "torch.full_like(model[1].weight, task.from_parent)"),
}


@pytest.fixture
def project(plugin_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny_task.write_plugins(plugin_root)
    (plugin_root / "networks" / "flat.py").write_text(NETWORK)
    (plugin_root / "methods").mkdir(exist_ok=True)
    for name, (keyword, value) in METHODS.items():
        (plugin_root / "methods" / f"{name}.py").write_text(METHOD.format(keyword=keyword, value=value))
    (plugin_root / "methods" / "watch.py").write_text(METHOD_WITH_LAYER)
    tiny_task.write_data(Path("data"))
    return tmp_path


def study(digits_study: Params, **models_by_name: dict[str, Any]) -> Params:
    plain = {
        "network": "flat",
        "network_options": {},
        "options": {},
        "parent": None,
        "teachers": [],
        "seeds": [5, 3],
        "threads": 1,
        "packages": {},
        "inputs": dict.fromkeys(("parent", "teacher", "teacher_2", "teacher_3"), "data"),
    }
    models = {name: ModelParams.model_validate({**plain, **changes}) for name, changes in models_by_name.items()}
    task = digits_study.task.model_copy(update={"name": "tiny"})
    return digits_study.model_copy(update={"task": task, "train": models, "distill": {}, "prune": {}, "quantize": {}})


def weight(directory: str) -> float:
    module, _, _ = model_files.load(Path("models", directory))
    values = torch.unique(next(module.parameters()))
    assert len(values) == 1
    return float(values)


def test_a_method_knows_whether_it_starts_from_a_parent(project: Path, digits_study: Params) -> None:
    params = study(digits_study, fresh={"method": "ask"}, child={"method": "ask", "parent": "fresh"})
    build.build("fresh", params)
    build.build("child", params)
    assert (weight("fresh"), weight("child")) == (0, 1)


def test_a_model_is_built_from_each_seed(project: Path, digits_study: Params) -> None:
    build.build("base", study(digits_study, base={"method": "count"}))
    assert (weight("base"), weight("base/seed_3")) == (5, 3)
    assert sorted(path.name for path in Path("models/base").iterdir()) == ["meta.json", "seed_3", "weights.safetensors"]


def test_children_and_students_use_models_of_the_same_seed(project: Path, digits_study: Params) -> None:
    chosen = study(
        digits_study,
        base={"method": "count"},
        child={"method": "follow", "parent": "base"},
        student={"method": "learn", "parent": "base", "teachers": ["child"]},
        student_of_two={"method": "learn_all", "parent": "base", "teachers": ["child", "base"]},
    )
    for name in ("base", "child", "student", "student_of_two"):
        build.build(name, chosen)
    assert (weight("child"), weight("child/seed_3")) == (105, 103)
    assert (weight("student"), weight("student/seed_3")) == (1105, 1103)
    assert (weight("student_of_two"), weight("student_of_two/seed_3")) == (110, 106)


def test_the_lineage_names_every_teacher_of_the_same_seed(project: Path, digits_study: Params) -> None:
    chosen = study(
        digits_study,
        base={"method": "count"},
        child={"method": "follow", "parent": "base"},
        student={"method": "learn_all", "parent": "base", "teachers": ["child", "base"]},
    )
    for name in ("base", "child", "student"):
        build.build(name, chosen)
    lineage = directories.read_meta(Path("models/student/seed_3"))["lineage"]
    assert {role: ancestor["name"] for role, ancestor in lineage.items()} == {
        "parent": "base",
        "teacher": "child",
        "teacher_2": "base",
    }
    assert lineage["teacher"]["sha256"] == directories.content_sha256(
        directories.read_meta(Path("models/child/seed_3"))
    )


def test_a_missing_layer_is_reported_with_its_option_its_file_and_the_nearest_layers(
    project: Path, digits_study: Params
) -> None:
    options = {"student_layers": ["0", "11"], "rate": 0.5}
    with pytest.raises(ConfigError) as failure:
        build.build("first", study(digits_study, first={"method": "watch", "options": options}))
    message = str(failure.value)
    assert "no layer '11'" in message
    assert "Change models.first.options.student_layers in conf/study/digits.yaml" in message
    assert "default in conf/methods/watch.yaml" in message
    assert "Nearest: 1. All layers: 0, 1." in message


BROUGHT_METHOD = """
from pydantic import BaseModel
FILE_OPTION = "weights"
class Options(BaseModel): pass
def apply(model, task):
    return model
"""


@pytest.mark.parametrize(("target", "is_noted"), [(0.0, False), (1.0, True)])
def test_a_brought_model_below_the_target_is_noted_before_anything_is_built_on_it(
    project: Path,
    plugin_root: Path,
    digits_study: Params,
    capsys: pytest.CaptureFixture[str],
    target: float,
    is_noted: bool,
) -> None:
    (plugin_root / "methods" / "bring.py").write_text(BROUGHT_METHOD)
    params = study(digits_study, mine={"method": "bring", "seeds": [0]})
    task = params.task.model_copy(update={"quality_target": target})
    build.build("mine", params.model_copy(update={"task": task}))
    printed = capsys.readouterr().err
    assert ("the task's target is 100.00%" in printed) is is_noted
    assert "validation accuracy" in printed
    assert 0 <= directories.read_meta(Path("models/mine"))["validation_quality"] <= 1
