"""The expansion of a study into the params of its stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeproof.config import compose, expansion
from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError
from tests.support import study_contents
from tests.support.project import ROOT

pytestmark = pytest.mark.usefixtures("project_root")


def test_the_inputs_of_a_model_are_the_directories_of_its_ancestors_or_the_data(digits_study: Params) -> None:
    assert digits_study.train["teacher"].inputs.model_dump() == {
        "parent": "data/digits/build",
        "teacher": "data/digits/build",
        "teacher_2": "data/digits/build",
        "teacher_3": "data/digits/build",
    }
    assert digits_study.distill["student"].inputs.teacher == "models/teacher"
    assert digits_study.prune["student_slim"].inputs.parent == "models/student"


def test_a_model_with_a_parent_has_the_network_that_its_lineage_starts_from(digits_study: Params) -> None:
    assert digits_study.quantize["student_slim_w4"].network == "resnet8"
    assert digits_study.quantize["student_slim_w4"].network_options == digits_study.distill["student"].network_options


def test_a_network_without_options_is_one_message_that_names_its_file(plugin_root: Path) -> None:
    (plugin_root / "networks/mlp.py").write_text("def build(inputs, outputs): ...\n")
    with pytest.raises(ConfigError, match=r"networks/mlp\.py has no class 'Options'.*class Options\(BaseModel\)"):
        compose.compose("digits", ["models.teacher.network=mlp", "models.teacher.network_options={}"])


def test_packages_have_the_versions_of_the_lock(digits_study: Params) -> None:
    lock = dict(
        line.split(" ")[0].strip().split("==")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line and not line.startswith(("#", " "))
    )
    packages = {**digits_study.train["teacher"].packages, **digits_study.bench["local_onnx"].packages}
    assert packages["torch"] == lock["torch"]
    assert packages["onnxruntime"] == lock["onnxruntime"]
    assert "numpy" in packages
    assert any(name.replace("_", "-") == "mlcommons-loadgen" for name in packages)


def test_every_teacher_is_an_input_of_its_student_and_comes_before_it(content: dict[str, Any]) -> None:
    content["models"] = {
        "pupil": {"method": "distill_ensemble", "network": "resnet8", "teacher": ["teacher", "student"]},
        **content["models"],
    }
    composed = study_contents.expand(content)
    inputs = composed.distill["pupil"].inputs
    assert (inputs.teacher, inputs.teacher_2) == ("models/teacher", "models/student")
    assert composed.report.models.index("pupil") > composed.report.models.index("teacher")


def test_the_seeds_of_a_study_apply_to_every_model_and_export_and_default_to_its_seed(
    content: dict[str, Any], digits_study: Params
) -> None:
    assert digits_study.train["teacher"].seeds == [0]
    content["seeds"] = [3, 1]
    composed = study_contents.expand(content)
    assert {tuple(composed.find_model(name).seeds) for name in content["models"]} == {(3, 1)}
    assert {tuple(export.seeds) for export in composed.export.values()} == {(3, 1)}
    assert composed.task.seed == 0


def test_the_report_lists_the_models_of_a_family_with_their_controls(content: dict[str, Any]) -> None:
    content["models"]["student_slim_w4"] |= {"family": "rounding", "control": "student"}
    content["models"]["teacher"] |= {"family": "rounding"}
    composed = study_contents.expand(content)
    assert composed.report.families == {"rounding": {"teacher": None, "student_slim_w4": "student"}}


def test_interleaved_processes_compare_each_artifact_of_a_family_with_its_reference(
    content: dict[str, Any],
) -> None:
    schemes = {"schemes": ["fp32", "int8-static"], "final": [], "runtimes": ["onnx"]}
    content["models"]["student"] |= {"schemes": ["fp32"], "final": [], "runtimes": ["onnx"]}
    content["models"]["student_slim_w4"] |= {"family": "rounding", "control": "student", **schemes}
    content["models"]["student_slim"] |= {"family": "slim", **schemes}
    assert all(not item.against for item in study_contents.expand(content).bench.values())
    content["bench"] |= {"interleaved": 3}
    session = study_contents.expand(content).bench["local_onnx"]
    assert session.interleaved == 3
    assert session.against == {
        "student_slim_w4": {"fp32": ["student", "fp32"]},  # its control has no other scheme
        "student_slim": {"int8-static": ["student_slim", "fp32"]},
    }


def test_a_misspelt_option_is_refused_also_if_the_plugins_model_would_ignore_it(plugin_root: Path) -> None:
    (plugin_root / "networks" / "lax.py").write_text(
        "from pydantic import BaseModel\nclass Options(BaseModel):\n    width: int = 16\n"
    )
    assert expansion._check_options("networks", "lax", {"width": 8}, "models.student") == {"width": 8}
    with pytest.raises(ConfigError, match=r"widht: unknown key\. Did you mean 'width'"):
        expansion._check_options("networks", "lax", {"widht": 8}, "models.student")
