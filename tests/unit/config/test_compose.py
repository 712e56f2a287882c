"""From conf/ to params.yaml: every study composes, always to the same text, and every mistake is named."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeproof.config import compose, expansion, packages, params_file
from edgeproof.config import study as config_study
from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError, UnknownNameError
from tests.unit.conftest import ROOT

STUDIES = sorted(path.stem for path in (ROOT / "conf" / "study").glob("*.yaml"))

pytestmark = pytest.mark.usefixtures("project_root")


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy of conf/ to be broken."""
    return Path(shutil.copytree(ROOT / "conf", tmp_path / "conf"))


def edit(path: Path, **changes: Any) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text("# @package _global_\n" + yaml.safe_dump({**content, **changes}), encoding="utf-8")


def message_of(*overrides: str, study: str | None = "digits", conf: Path = compose.CONF) -> str:
    with pytest.raises(ConfigError) as caught:
        compose.compose(study, overrides, conf)
    return str(caught.value)


@pytest.fixture(scope="module")
def digits() -> dict[str, Any]:
    """The digits study after Hydra and before validation: composing takes most of a composition's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGEPROOF_PLUGINS", raising=False)
        patch.chdir(ROOT)
        return compose._composed("digits", [], compose.CONF)


@pytest.fixture
def content(digits: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(digits))


def put(content: Any, place: str, value: Any) -> None:
    *way, last = place.split("/")
    for part in way:
        content = content[part]
    content[last] = value


def message_about(content: dict[str, Any], kind: type[ConfigError] = ConfigError) -> str:
    with pytest.raises(kind) as caught:
        expansion.expand(compose._validated(content, "digits", compose.CONF))
    return str(caught.value)


# --- composing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_composes(study: str) -> None:
    assert compose.compose(study).study == study


def test_the_committed_params_are_the_composition_of_the_default_study(tmp_path: Path) -> None:
    params_file.write_params(compose.compose(), path=tmp_path / "params.yaml")
    assert (ROOT / "params.yaml").read_bytes() == (tmp_path / "params.yaml").read_bytes()


def test_composing_gives_the_same_text_whatever_was_composed_before(digits_study: Params) -> None:
    compose.compose("fashion_mnist", ["prune.ratio=0.5", "seed=3"])
    with pytest.raises(ConfigError):
        compose.compose("digits", ["prune.ratio=1.2"])
    assert params_file.dump_params(compose.compose("digits")) == params_file.dump_params(digits_study)


def test_composing_does_not_depend_on_the_order_of_keys_in_a_study(digits_study: Params, conf: Path) -> None:
    path = conf / "study" / "digits.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text("# @package _global_\n" + yaml.safe_dump(dict(reversed(content.items())), sort_keys=False))
    assert params_file.dump_params(compose.compose("digits", conf=conf)) == params_file.dump_params(digits_study)


def test_an_override_changes_what_it_names_and_nothing_else(digits_study: Params) -> None:
    plain, changed = (
        yaml.safe_load(params_file.dump_params(params))
        for params in (digits_study, compose.compose("digits", ["prune.ratio=0.31"]))
    )
    assert changed["prune"]["student_slim"]["options"].pop("ratio") == 0.31
    assert plain["prune"]["student_slim"]["options"].pop("ratio") != 0.31
    assert changed == plain


def test_an_override_reaches_a_definition_in_a_library() -> None:
    composed = compose.compose("digits", ["methods.distill.options.momentum=0.8", "scenarios.server.load=0.2"])
    assert composed.distill["student"].options["momentum"] == 0.8
    assert composed.bench["local_onnx"].all["server"].load == 0.2


def test_models_come_after_their_parents_and_teachers_whatever_the_studys_order(conf: Path) -> None:
    path = conf / "study" / "fashion_mnist.yaml"
    models = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
    edit(path, models=dict(reversed(models.items())))
    composed = compose.compose("fashion_mnist", conf=conf)
    order = composed.report.models
    for family in (composed.train, composed.distill, composed.prune, composed.quantize):
        for name, model in family.items():
            for before in (model.parent, *model.teachers):
                assert before is None or order.index(before) < order.index(name)
    assert set(order) == set(models)


def test_a_models_inputs_are_the_directories_it_is_made_from(digits_study: Params) -> None:
    assert digits_study.train["teacher"].inputs.model_dump() == {
        "parent": "data/digits/build",
        "teacher": "data/digits/build",
        "teacher_2": "data/digits/build",
        "teacher_3": "data/digits/build",
    }
    assert digits_study.distill["student"].inputs.teacher == "models/teacher"
    assert digits_study.prune["student_slim"].inputs.parent == "models/student"


def test_a_descendant_names_the_network_that_its_lineage_starts_from(digits_study: Params) -> None:
    assert digits_study.quantize["student_slim_w4"].network == "resnet8"
    assert digits_study.quantize["student_slim_w4"].network_options == digits_study.distill["student"].network_options


def test_every_package_has_the_version_of_the_lock(digits_study: Params) -> None:
    lock = dict(
        line.split(" ")[0].strip().split("==")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line and not line.startswith(("#", " "))
    )
    found = {**digits_study.train["teacher"].packages, **digits_study.bench["local_onnx"].packages}
    assert found["torch"] == lock["torch"]
    assert found["onnxruntime"] == lock["onnxruntime"]
    assert "numpy" in found
    assert any(name.replace("_", "-") == "mlcommons-loadgen" for name in found)


def test_a_definition_from_outside_the_repository_can_be_used(plugin_root: Path) -> None:
    (plugin_root / "conf" / "networks").mkdir(parents=True)
    (plugin_root / "conf" / "networks" / "tiny.yaml").write_text("options: {width: 3}\n")
    (plugin_root / "networks" / "tiny.py").write_text(
        "from pydantic import BaseModel\n\n\nclass Options(BaseModel):\n    width: int\n"
    )
    composed = compose.compose("digits", ["models.teacher.network=tiny", "~models.teacher.network_options"])
    assert composed.train["teacher"].network == "tiny"
    assert composed.train["teacher"].network_options == {"width": 3}


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "value", "kind", "name", "meant"),
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
def test_an_unknown_name_is_refused_with_the_nearest_and_where_to_add_one(
    content: dict[str, Any], place: str, value: Any, kind: str, name: str, meant: str
) -> None:
    put(content, place, value)
    message = message_about(content, UnknownNameError)
    assert f"unknown {kind} '{name}'." in message
    assert f"Did you mean '{meant}'?" in message
    known, _, where = message.partition("Known: ")[2].partition(". ")
    assert meant in known.split(", ")
    assert where.endswith(".")


def test_an_unknown_study_lists_the_studies() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown study 'digit'\. Did you mean 'digits'\?.*fashion_mnist") as caught:
        compose.compose("digit")
    assert "conf/study/digit.yaml" in str(caught.value)


def test_an_unknown_study_in_an_override_is_refused_with_the_studies_that_exist() -> None:
    message = message_of("study=digit", study=None)
    assert "digit" in message
    assert all(study in message for study in STUDIES)


def test_a_definition_without_its_plugin_is_refused_by_the_file_that_is_missing(conf: Path) -> None:
    (conf / "networks" / "vgg.yaml").write_text("options: {}\n")
    assert "edgeproof/networks/vgg.py" in message_of("models.teacher.network=vgg", conf=conf)


def test_a_runtime_that_the_study_does_not_use_is_unknown_to_its_models(content: dict[str, Any]) -> None:
    put(content, "bench/runtimes", ["onnx"])
    put(content, "models/teacher/runtimes", ["tflite"])
    assert "unknown runtime 'tflite'" in message_about(content)


# --- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("prune.ratio=1.2", "ratio"),
        ("distill.temperature=0", "temperature"),
        ("quantize.bits=9", "bits"),
        ("threads=0", "threads"),
        ("study=../digits", "study"),
    ],
)
def test_an_override_out_of_range_is_refused_by_the_name_of_its_key(override: str, key: str) -> None:
    message = message_of(override)
    assert key in message
    assert "conf/" in message


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
def test_a_value_out_of_range_or_of_the_wrong_type_is_refused_by_the_name_of_its_key(
    content: dict[str, Any], place: str, value: Any
) -> None:
    put(content, place, value)
    message = message_about(content)
    assert place.split("/")[-1] in message
    assert "conf/" in message


@pytest.mark.parametrize(
    ("place", "meant"),
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
def test_a_key_with_a_typo_is_refused_with_the_key_that_was_meant(
    content: dict[str, Any], place: str, meant: str
) -> None:
    put(content, place, 1)
    message = message_about(content)
    assert f"{place.split('/')[-1]}: unknown key." in message
    assert f"Did you mean '{meant}'?" in message


@pytest.mark.parametrize("override", ["prune.ratoi=0.3", "modles.teacher.method=train"])
def test_an_override_of_a_key_that_does_not_exist_is_refused(override: str) -> None:
    message = message_of(override)
    assert override.partition("=")[0].rpartition(".")[2] in message
    assert "edgeproof compose --print" in message
    assert "full_key" not in message  # Hydra's insides


@pytest.mark.parametrize("override", ["prune.ratio==", "prune.ratio=[1", ""])
def test_an_override_that_cannot_be_parsed_is_one_message(override: str) -> None:
    assert "could not compose" in message_of(override)


def test_every_key_that_a_study_sets_can_be_overridden() -> None:
    overrides = {
        "study": "digits",
        "task": "digits",
        "seed": "7",
        "threads": "3",
        "bench.runtimes": "[onnx]",
        "bench.devices": "[local]",
        "bench.session": "5",
        "models.student_slim_w4.schemes": "[int8-static,fp32]",
        "scenarios.offline.settings.min_duration_ms": "9",
    }
    changed = compose.compose(overrides=[f"{key}={value}" for key, value in overrides.items()])
    assert (changed.study, changed.task.name, changed.task.seed) == ("digits", "digits", 7)
    assert changed.train["teacher"].threads == 3
    assert list(changed.bench) == ["local_onnx"]
    assert changed.bench["local_onnx"].session == 5
    assert changed.bench["local_onnx"].artifacts["student_slim_w4"] == ["int8-static", "fp32"]
    assert changed.bench["local_onnx"].all["offline"].settings.min_duration_ms == 9


# --- the graph -----------------------------------------------------------------------------------------------------


def test_a_cycle_of_parents_is_refused_by_its_members(content: dict[str, Any]) -> None:
    content["models"]["student"] |= {"network": None, "network_options": {}, "parent": "student_slim_w4"}
    assert "student → student_slim_w4 → student_slim → student" in message_about(content)


def test_a_model_that_teaches_itself_is_a_cycle(content: dict[str, Any]) -> None:
    put(content, "models/student/teacher", "student")
    assert "student → student" in message_about(content)


def test_two_models_that_descend_from_one_another_alone_are_a_cycle(content: dict[str, Any]) -> None:
    content["models"] |= {
        "a": {"method": "prune_weights", "parent": "b"},
        "b": {"method": "prune_weights", "parent": "a"},
    }
    assert "a → b → a" in message_about(content)


@pytest.mark.parametrize(("key", "value"), [("parent", "student"), ("network", None)])
def test_a_model_starts_from_either_a_network_or_a_parent(content: dict[str, Any], key: str, value: Any) -> None:
    put(content, f"models/teacher/{key}", value)
    expected = "models.teacher must name either a network to start from or a parent, and not both"
    assert expected in message_about(content)


def test_a_parents_network_cannot_be_given_other_options(content: dict[str, Any]) -> None:
    put(content, "models/student_slim/network_options", {"widths": [4]})
    assert "models.student_slim: network_options" in message_about(content)


def test_a_method_that_learns_from_a_teacher_must_have_one(content: dict[str, Any]) -> None:
    put(content, "models/student/teacher", None)
    assert "models.student: method 'distill' learns from a teacher" in message_about(content)


def test_a_method_without_a_teacher_refuses_one(content: dict[str, Any]) -> None:
    put(content, "models/student_slim/teacher", "teacher")
    assert "method 'prune_channels' takes no teacher; remove 'teacher: teacher'" in message_about(content)


def test_a_method_that_learns_from_one_teacher_refuses_several(content: dict[str, Any]) -> None:
    put(content, "models/student/teacher", ["teacher", "teacher"])
    assert "method 'distill' learns from one teacher, not from teacher, teacher" in message_about(content)


def test_a_method_that_learns_from_several_teachers_refuses_one(content: dict[str, Any]) -> None:
    content["models"]["pupil"] = {"method": "distill_ensemble", "network": "resnet8", "teacher": "teacher"}
    assert "models.pupil: method 'distill_ensemble' learns from several teachers" in message_about(content)


def test_every_teacher_is_an_input_of_its_pupil_and_comes_before_it(content: dict[str, Any]) -> None:
    content["models"] = {
        "pupil": {"method": "distill_ensemble", "network": "resnet8", "teacher": ["teacher", "student"]},
        **content["models"],
    }
    composed = expansion.expand(config_study.Study.model_validate(content))
    inputs = composed.distill["pupil"].inputs
    assert (inputs.teacher, inputs.teacher_2) == ("models/teacher", "models/student")
    assert composed.report.models.index("pupil") > composed.report.models.index("teacher")


def test_seeds_are_those_of_every_model_and_export_and_a_study_without_any_has_its_own(
    content: dict[str, Any], digits_study: Params
) -> None:
    assert digits_study.train["teacher"].seeds == [0]
    content["seeds"] = [3, 1]
    composed = expansion.expand(config_study.Study.model_validate(content))
    assert {tuple(composed.model(name).seeds) for name in content["models"]} == {(3, 1)}
    assert {tuple(export.seeds) for export in composed.export.values()} == {(3, 1)}
    assert composed.task.seed == 0


def test_seeds_are_listed_once(content: dict[str, Any]) -> None:
    content["seeds"] = [1, 2, 1]
    assert "seeds lists a seed twice: 1, 2, 1" in message_about(content)


def test_families_name_their_models_with_their_controls(content: dict[str, Any]) -> None:
    content["models"]["student_slim_w4"] |= {"family": "rounding", "control": "student"}
    content["models"]["teacher"] |= {"family": "rounding"}
    composed = expansion.expand(config_study.Study.model_validate(content))
    assert composed.report.families == {"rounding": {"teacher": None, "student_slim_w4": "student"}}


def test_with_turns_each_artifact_of_a_family_is_measured_against_what_its_table_compares_it_with(
    content: dict[str, Any],
) -> None:
    schemes = {"schemes": ["fp32", "int8-static"], "final": [], "runtimes": ["onnx"]}
    content["models"]["student"] |= {"schemes": ["fp32"], "final": [], "runtimes": ["onnx"]}
    content["models"]["student_slim_w4"] |= {"family": "rounding", "control": "student", **schemes}
    content["models"]["student_slim"] |= {"family": "slim", **schemes}
    assert all(not item.against for item in expansion.expand(config_study.Study.model_validate(content)).bench.values())
    content["bench"] |= {"interleaved": 3}
    session = expansion.expand(config_study.Study.model_validate(content)).bench["local_onnx"]
    assert session.interleaved == 3
    assert session.against == {
        "student_slim_w4": {"fp32": ["student", "fp32"]},  # its control has no other
        "student_slim": {"int8-static": ["student_slim", "fp32"]},
    }


def test_a_control_belongs_to_a_family(content: dict[str, Any]) -> None:
    content["models"]["student_slim_w4"] |= {"control": "student"}
    assert "models.student_slim_w4: a control belongs to a family's table" in message_about(content)


def test_a_final_scheme_is_one_of_the_models_schemes(content: dict[str, Any]) -> None:
    put(content, "models/student_slim_w4/schemes", ["fp32"])
    assert "models.student_slim_w4.final must be among its schemes" in message_about(content)


def test_a_server_load_is_refused_where_no_single_stream_run_tells_the_rate(content: dict[str, Any]) -> None:
    # The server scenario offers a share of the single-stream rate, so that rate has to be measured before it.
    content["bench"] |= {"every": ["offline"], "final": ["server"]}
    message = message_about(content)
    assert "single_stream" in message or "SingleStream" in message


def test_a_scheme_listed_twice_is_refused_before_anything_is_built(content: dict[str, Any]) -> None:
    put(content, "models/student_slim_w4/schemes", ["fp32", "int8-static", "fp32"])
    assert "schemes" in message_about(content)


# --- broken files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("study/digits.yaml", "a: [1, 2"),
        ("methods/train.yaml", "a: b: c\n"),
        ("runtimes/onnx.yaml", "- a list\n"),
        ("study/digits.yaml", "7\n"),
        ("config.yaml", "7\n"),
    ],
)
def test_a_file_that_is_not_a_yaml_mapping_is_one_message(conf: Path, file: str, text: str) -> None:
    (conf / file).write_text(text)
    assert "conf" in message_of(conf=conf)


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n"])
def test_an_empty_study_is_told_what_it_lacks(conf: Path, text: str) -> None:
    (conf / "study" / "digits.yaml").write_text("# @package _global_\n" + text)
    message = message_of(conf=conf)
    assert "task: Field required" in message
    assert "models: Field required" in message


def test_a_file_that_is_not_text_is_one_message(conf: Path) -> None:
    (conf / "methods" / "train.yaml").write_bytes(b"\xff\xfe\xfa")
    assert message_of(conf=conf)


def test_a_reference_to_a_knob_that_does_not_exist_is_refused_by_its_name(conf: Path) -> None:
    edit(conf / "study" / "digits.yaml", threads="${nothing.like_it}")
    assert "nothing" in message_of(conf=conf)


def test_a_reference_to_itself_is_one_message(conf: Path) -> None:
    edit(conf / "study" / "digits.yaml", threads="${threads}")
    assert "could not compose" in message_of(conf=conf)


def test_a_value_that_must_still_be_given_is_named(conf: Path) -> None:
    edit(conf / "study" / "digits.yaml", seed="???")
    assert "seed" in message_of(conf=conf)


def test_a_directory_without_studies_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        compose.compose(conf=tmp_path / "nowhere")


def test_a_package_that_the_lock_does_not_pin_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("Some_Package==1.0\n# other==2.0\n")
    assert packages.pin(["some.package"], lock) == {"some.package": "1.0"}
    with pytest.raises(ConfigError, match="pins no version of other"):
        packages.pin(["other"], lock)


def test_composing_away_from_the_projects_root_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="project's root"):
        packages.pin(["torch"])


# --- writing -------------------------------------------------------------------------------------------------------


def test_what_was_just_written_is_not_edited_by_hand_and_every_change_of_its_body_is(
    digits_study: Params, tmp_path: Path
) -> None:
    path = tmp_path / "params.yaml"
    assert not params_file.is_edited_by_hand(path)
    params_file.write_params(digits_study, "study=digits", path)
    assert not params_file.is_edited_by_hand(path)
    text = path.read_text(encoding="utf-8")
    for changed in (
        text.replace("threads: 2", "threads: 3", 1),
        text + "\n",
        text[:-1],
        text.partition("\n")[2],
        "",
        "# a comment above\n" + text,
    ):
        path.write_text(changed, encoding="utf-8")
        assert params_file.is_edited_by_hand(path)
    path.write_text(text, encoding="utf-8")
    assert not params_file.is_edited_by_hand(path)


@pytest.mark.parametrize(
    ("command", "shown"), [("", "'edgeproof compose'"), ("study=digits", "'edgeproof compose study=digits'")]
)
def test_the_header_says_which_command_composed_the_file(
    digits_study: Params, tmp_path: Path, command: str, shown: str
) -> None:
    path = tmp_path / "params.yaml"
    params_file.write_params(digits_study, command, path)
    assert shown in path.read_text(encoding="utf-8").partition("\n")[0]


def test_what_is_written_is_read_back_by_the_stages_loader(digits_study: Params, tmp_path: Path) -> None:
    from edgeproof.config import params_file

    params_file.write_params(digits_study, path=tmp_path / "params.yaml")
    assert params_file.read_params(tmp_path / "params.yaml") == digits_study


@pytest.mark.parametrize("name", ["null", "true", "no", "1e3", "0x1"])
def test_names_that_yaml_would_take_for_something_else_survive_writing(digits_study: Params, name: str) -> None:
    renamed = digits_study.model_copy(update={"study": name})
    assert yaml.load(params_file.dump_params(renamed), Loader=yaml.CSafeLoader)["study"] == name


def test_studies_are_the_files_of_their_directory() -> None:
    assert compose.list_studies() == sorted(path.stem for path in (ROOT / "conf" / "study").iterdir())
