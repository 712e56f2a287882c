"""The checks of a study: an error names the key, what is allowed and the nearest name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core import plugins
from edgeproof.core.errors import DataError, UnknownNameError
from tests.support import study_contents

pytestmark = pytest.mark.usefixtures("project_root")


@pytest.mark.parametrize(
    ("place", "value", "kind", "name", "nearest"),
    [
        ("task", "digit", "task", "digit", "digits"),
        ("models/teacher/method", "trian", "method", "trian", "train"),
        ("models/teacher/network", "resnet", "network", "resnet", "resnet8"),
        ("bench/runtimes", ["onx"], "runtime", "onx", "onnx"),
        ("models/student_slim_w4/schemes", ["fp23"], "scheme", "fp23", "fp32"),
        ("models/student_slim_w4/final", ["int8_static"], "scheme", "int8_static", "int8-static"),
        ("bench/devices", ["locl"], "device", "locl", "local"),
        ("bench/every", ["single_steam"], "scenario", "single_steam", "single_stream"),
        ("bench/final", ["ofline"], "scenario", "ofline", "offline"),
        ("bench/baseline", "techer", "baseline model", "techer", "teacher"),
        ("models/student/teacher", "techer", "teacher model", "techer", "teacher"),
        ("models/student_slim/parent", "studnt", "parent model", "studnt", "student"),
        ("models/teacher/runtimes", ["opnvino"], "runtime", "opnvino", "openvino"),
    ],
)
def test_an_unknown_name_is_an_error_that_shows_the_nearest_name_and_where_to_add_one(
    content: dict[str, Any], place: str, value: Any, kind: str, name: str, nearest: str
) -> None:
    study_contents.put(content, place, value)
    message = study_contents.read_error(content, UnknownNameError)
    assert f"unknown {kind} '{name}'." in message
    assert f"Did you mean '{nearest}'?" in message
    known, _, where = message.partition("Known: ")[2].partition(". ")
    assert nearest in known.split(", ")
    assert where.endswith(".")


def test_a_model_cannot_use_a_runtime_that_the_study_does_not_list(content: dict[str, Any]) -> None:
    study_contents.put(content, "bench/runtimes", ["onnx"])
    study_contents.put(content, "models/teacher/runtimes", ["tflite"])
    message = study_contents.read_error(content)
    assert "models.teacher.runtimes has tflite, and bench.runtimes has only onnx" in message


# --- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("models/student_slim/options/ratio", 1.2),
        ("models/student_slim/options/ratio", 1),
        ("models/student_slim/options/ratio", 0),
        ("models/student_slim/options/ratio", -0.1),
        ("models/student_slim/options/ratio", "half"),
        ("models/student_slim/options/ratio", math.nan),
        ("models/student/options/temperature", 0),
        ("models/student/options/temperature", -1),
        ("models/student/options/hard_weight", 1.01),
        ("models/student/options/learning_rate", 0),
        ("models/student_slim_w4/options/bits", 9),
        ("models/student_slim_w4/options/bits", 1),
        ("models/student_slim_w4/options/bits", 4.5),
        ("models/teacher/options/epochs", -1),
        ("models/teacher/options/epochs", 1.5),
        ("models/teacher/options/batch_size", 0),
        ("models/teacher/options/momentum", 1),
        ("models/teacher/options/weight_decay", -1e-4),
        ("models/teacher/network_options/widths", []),
        ("models/teacher/network_options/widths", [0]),
        ("models/teacher/network_options/stem_stride", 5),
        ("seeds", [0, -1]),
        ("models/student/teacher", ["teacher", 1]),
        ("models/student_slim_w4/schemes", []),
        ("threads", 0),
        ("threads", 257),
        ("threads", "two"),
        ("threads", True),
        ("seed", -1),
        ("seed", 1.5),
        ("models", {}),
        ("models", {"Teacher": {"method": "train", "network": "resnet8"}}),
        ("bench/runtimes", []),
        ("bench/runtimes", "onnx"),
        ("bench/processes", 0),
        ("bench/session", -1),
        ("bench/devices", []),
        ("bench/every", []),
        ("scenarios/server/load", 0),
        ("scenarios/server/load", 1.5),
        ("scenarios/server/scenario", "Serve"),
        ("scenarios/single_stream/settings/min_query_count", 63),
        ("scenarios/single_stream/settings/min_duration_ms", 0.5),
        ("methods/train/stage", "training"),
        ("tasks/digits/quality_target", 90),
        ("tasks/digits/calibration_samples", 0),
        ("tasks/digits/files/digits.csv", "not a sha256"),
        ("tasks/digits/sources", []),
    ],
)
def test_the_error_for_a_value_out_of_range_or_of_the_wrong_type_names_its_key_and_file(
    content: dict[str, Any], place: str, value: Any
) -> None:
    study_contents.put(content, place, value)
    message = study_contents.read_error(content)
    assert place.split("/")[-1] in message
    assert "conf/" in message


@pytest.mark.parametrize(
    ("place", "nearest"),
    [
        ("sead", "seed"),
        ("models/teacher/methd", "method"),
        ("models/student/options/temprature", "temperature"),
        ("models/teacher/network_options/withs", "widths"),
        ("bench/proceses", "processes"),
        ("scenarios/server/settings/min_duration", "min_duration_ms"),
        ("methods/train/option", "options"),
        ("runtimes/onnx/scheme", "schemes"),
        ("tasks/digits/quality_targt", "quality_target"),
    ],
)
def test_the_error_for_a_misspelt_key_suggests_the_right_one(content: dict[str, Any], place: str, nearest: str) -> None:
    study_contents.put(content, place, 1)
    message = study_contents.read_error(content)
    assert f"{place.split('/')[-1]}: unknown key." in message
    assert f"Did you mean '{nearest}'?" in message


def test_the_error_for_a_renamed_key_names_the_new_key(content: dict[str, Any]) -> None:
    study_contents.put(content, "bench/turns", 3)
    message = study_contents.read_error(content)
    assert "bench.turns: unknown key. It is now called 'interleaved'. Allowed: " in message


# --- models and scenarios ------------------------------------------------------------------------------------------


def test_a_floor_may_be_below_the_target_and_reaches_the_benchmark(content: dict[str, Any]) -> None:
    study_contents.put(content, "tasks/digits/quality_floor", 0.8)
    params = study_contents.expand(content)
    assert (params.task.quality_floor, params.task.metric) == (0.8, "accuracy")
    assert {item.worst_valid_quality for item in params.bench.values()} == {0.8}
    assert {item.quality_target for item in params.bench.values()} == {0.9}


def test_without_a_floor_the_target_is_the_worst_valid_quality(content: dict[str, Any]) -> None:
    params = study_contents.expand(content)
    assert {item.worst_valid_quality for item in params.bench.values()} == {0.9}


def test_a_floor_better_than_the_target_is_refused(content: dict[str, Any]) -> None:
    study_contents.put(content, "tasks/digits/quality_floor", 0.95)
    message = study_contents.read_error(content)
    assert "conf/tasks/digits.yaml" in message
    assert "quality_floor 95.00% is better than quality_target 90.00%" in message


def test_where_less_is_better_any_positive_limit_is_allowed_and_the_floor_is_above(
    content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins.load("tasks", "digits"), "METRICS", ("rmse",))
    study_contents.put(content, "tasks/digits/quality_target", 12.5)
    study_contents.put(content, "tasks/digits/quality_floor", 15.0)
    params = study_contents.expand(content)
    assert (params.task.metric, params.task.quality_target, params.task.quality_floor) == ("rmse", 12.5, 15.0)
    study_contents.put(content, "tasks/digits/quality_floor", 10.0)
    assert "quality_floor 10.000 is better than quality_target 12.500" in study_contents.read_error(content)


def test_a_task_without_a_metric_is_refused(content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins.load("tasks", "digits"), "METRICS", ())
    assert "names no metric" in study_contents.read_error(content)


def test_the_former_name_of_a_limit_is_answered_with_the_new_one(content: dict[str, Any]) -> None:
    study_contents.put(content, "tasks/digits/accuracy", 0.9)
    assert "It is now called 'quality_target'." in study_contents.read_error(content)


def test_the_error_for_a_cycle_of_parents_lists_its_models(content: dict[str, Any]) -> None:
    content["models"]["student"] |= {"network": None, "network_options": {}, "parent": "student_slim_w4"}
    assert "student → student_slim_w4 → student_slim → student" in study_contents.read_error(content)


def test_a_model_that_is_its_own_teacher_is_a_cycle(content: dict[str, Any]) -> None:
    study_contents.put(content, "models/student/teacher", "student")
    assert "student → student" in study_contents.read_error(content)


def test_two_models_that_are_parents_of_each_other_are_a_cycle(content: dict[str, Any]) -> None:
    content["models"] |= {
        "a": {"method": "prune_weights", "parent": "b"},
        "b": {"method": "prune_weights", "parent": "a"},
    }
    assert "a → b → a" in study_contents.read_error(content)


@pytest.mark.parametrize(("key", "value"), [("parent", "student"), ("network", None)])
def test_a_model_must_name_a_network_or_a_parent_but_not_both(content: dict[str, Any], key: str, value: Any) -> None:
    study_contents.put(content, f"models/teacher/{key}", value)
    expected = "models.teacher must name either a network to start from or a parent, and not both"
    assert expected in study_contents.read_error(content)


def test_network_options_cannot_be_set_for_a_model_with_a_parent(content: dict[str, Any]) -> None:
    study_contents.put(content, "models/student_slim/network_options", {"widths": [4]})
    assert "models.student_slim: network_options" in study_contents.read_error(content)


def test_a_method_that_needs_a_teacher_must_have_one(content: dict[str, Any]) -> None:
    study_contents.put(content, "models/student/teacher", None)
    assert "models.student: method 'distill' learns from a teacher" in study_contents.read_error(content)


def test_a_method_that_takes_no_teacher_cannot_have_one(content: dict[str, Any]) -> None:
    content["models"]["sparse"] = {"method": "prune_weights", "parent": "student", "teacher": "teacher"}
    assert "method 'prune_weights' takes no teacher; remove 'teacher: teacher'" in study_contents.read_error(content)


def test_a_method_for_one_teacher_cannot_have_several(content: dict[str, Any]) -> None:
    study_contents.put(content, "models/student/teacher", ["teacher", "teacher"])
    assert "method 'distill' learns from one teacher, not from teacher, teacher" in study_contents.read_error(content)


def test_a_method_for_several_teachers_cannot_have_one(content: dict[str, Any]) -> None:
    content["models"]["pupil"] = {"method": "distill_ensemble", "network": "resnet8", "teacher": "teacher"}
    assert "models.pupil: method 'distill_ensemble' learns from several teachers" in study_contents.read_error(content)


def test_a_seed_cannot_be_listed_twice(content: dict[str, Any]) -> None:
    content["seeds"] = [1, 2, 1]
    assert "seeds lists a seed twice: 1, 2, 1" in study_contents.read_error(content)


def test_a_control_needs_a_family(content: dict[str, Any]) -> None:
    content["models"]["student_slim_w4"] |= {"control": "student"}
    assert "models.student_slim_w4: 'control' needs a 'family'" in study_contents.read_error(content)


def test_a_final_scheme_must_be_one_of_the_models_schemes(content: dict[str, Any]) -> None:
    study_contents.put(content, "models/student_slim_w4/schemes", ["fp32"])
    assert "models.student_slim_w4.final must be among its schemes" in study_contents.read_error(content)


def test_a_server_scenario_needs_a_single_stream_scenario_before_it(content: dict[str, Any]) -> None:
    # The server scenario offers a share of the single-stream rate, so that rate has to be measured before it.
    content["bench"] |= {"every": ["offline"], "final": ["server"]}
    message = study_contents.read_error(content)
    assert "single_stream" in message or "SingleStream" in message


def test_a_scheme_cannot_be_listed_twice(content: dict[str, Any]) -> None:
    study_contents.put(content, "models/student_slim_w4/schemes", ["fp32", "int8-static", "fp32"])
    assert "schemes" in study_contents.read_error(content)


def test_a_model_of_a_users_file_depends_on_it_and_a_missing_file_is_named(
    content: dict[str, Any], tmp_path: Path
) -> None:
    content["models"]["teacher"] |= {"method": "pretrained", "options": {"weights": str(tmp_path / "a.pt")}}
    with pytest.raises(DataError, match=r"models\.teacher\.options\.weights: there is no file .*a\.pt"):
        study_contents.expand(content)
    (tmp_path / "a.pt").write_bytes(b"x")
    params = study_contents.expand(content)
    assert params.train["teacher"].inputs.parent == str(tmp_path / "a.pt")
    assert params.distill["student"].inputs.parent == "data/digits/build"


def test_a_published_file_with_sources_needs_no_file_of_the_user(content: dict[str, Any]) -> None:
    options = {"file": "a.onnx", "sha256": "0" * 64, "sources": [{"kind": "folder", "path": "data/models"}]}
    content["models"]["vendor"] = {"method": "brought", "network": "brought", "options": options, "runtimes": []}
    expanded = study_contents.expand(content).train["vendor"]
    assert expanded.inputs.parent == "data/digits/build"
    assert expanded.options["sha256"] == "0" * 64


def test_a_brought_teacher_can_not_be_exported_nor_pruned(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"x")
    vendor = {"method": "brought", "network": "brought", "options": {"file": str(tmp_path / "a.onnx")}}
    content["models"]["vendor"] = vendor
    assert "models.vendor: method 'brought' makes a teacher from a file" in study_contents.read_error(content)
    content["models"]["vendor"] = {**vendor, "runtimes": []}
    content["models"]["student"]["teacher"] = "vendor"
    assert study_contents.expand(content).distill["student"].teachers == ["vendor"]
    content["models"]["small"] = {**content["models"]["student_slim"], "parent": "vendor"}
    assert "models.small can't start from 'vendor'" in study_contents.read_error(content)
