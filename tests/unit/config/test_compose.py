"""Composing conf/ with Hydra: every study composes, the result is reproducible, and errors name the key and file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeproof.config import compose, params_file
from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError, UnknownNameError
from tests.support.project import ROOT

STUDIES = sorted(path.stem for path in (ROOT / "conf" / "study").glob("*.yaml"))

pytestmark = pytest.mark.usefixtures("project_root")


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """Return a copy of conf/ that the test may change."""
    return Path(shutil.copytree(ROOT / "conf", tmp_path / "conf"))


def edit(path: Path, **changes: Any) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text("# @package _global_\n" + yaml.safe_dump({**content, **changes}), encoding="utf-8")


def read_compose_error(*overrides: str, study: str | None = "digits", conf: Path = compose.CONF) -> str:
    with pytest.raises(ConfigError) as failure:
        compose.compose(study, overrides, conf)
    return str(failure.value)


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_composes(study: str) -> None:
    assert compose.compose(study).study == study


def test_the_committed_params_are_the_composition_of_the_default_study(tmp_path: Path) -> None:
    params_file.write_params(compose.compose(), path=tmp_path / "params.yaml")
    assert (ROOT / "params.yaml").read_bytes() == (tmp_path / "params.yaml").read_bytes()


def test_a_composition_does_not_depend_on_earlier_compositions(digits_study: Params) -> None:
    compose.compose("fashion_mnist", ["prune.ratio=0.5", "seed=3"])
    with pytest.raises(ConfigError):
        compose.compose("digits", ["prune.ratio=1.2"])
    assert params_file.dump_params(compose.compose("digits")) == params_file.dump_params(digits_study)


def test_a_composition_does_not_depend_on_the_order_of_keys_in_the_study(digits_study: Params, conf: Path) -> None:
    path = conf / "study" / "digits.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text("# @package _global_\n" + yaml.safe_dump(dict(reversed(content.items())), sort_keys=False))
    assert params_file.dump_params(compose.compose("digits", conf=conf)) == params_file.dump_params(digits_study)


def test_an_override_changes_only_the_key_that_it_names(digits_study: Params) -> None:
    plain, changed = (
        yaml.safe_load(params_file.dump_params(params))
        for params in (digits_study, compose.compose("digits", ["prune.ratio=0.31"]))
    )
    assert changed["prune"]["student_slim"]["options"].pop("ratio") == 0.31
    assert plain["prune"]["student_slim"]["options"].pop("ratio") != 0.31
    assert changed == plain


def test_an_override_can_change_a_definition_in_a_library() -> None:
    composed = compose.compose("digits", ["methods.distill.options.momentum=0.8", "scenarios.server.load=0.2"])
    assert composed.distill["student"].options["momentum"] == 0.8
    assert composed.bench["local_onnx"].all["server"].load == 0.2


def test_models_are_ordered_after_their_parents_and_teachers(conf: Path) -> None:
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


def test_a_definition_in_an_external_plugin_directory_can_be_used(plugin_root: Path) -> None:
    (plugin_root / "conf" / "networks").mkdir(parents=True)
    (plugin_root / "conf" / "networks" / "tiny.yaml").write_text("options: {width: 3}\n")
    (plugin_root / "networks" / "tiny.py").write_text(
        "from pydantic import BaseModel\n\n\nclass Options(BaseModel):\n    width: int\n"
    )
    composed = compose.compose("digits", ["models.teacher.network=tiny", "~models.teacher.network_options"])
    assert composed.train["teacher"].network == "tiny"
    assert composed.train["teacher"].network_options == {"width": 3}


def test_studies_are_the_files_in_conf_study() -> None:
    assert compose.list_studies() == sorted(path.stem for path in (ROOT / "conf" / "study").iterdir())


def test_the_error_for_an_unknown_study_lists_all_studies() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown study 'digit'\. Did you mean 'digits'\?.*fashion_mnist"
    ) as failure:
        compose.compose("digit")
    assert "conf/study/digit.yaml" in str(failure.value)


def test_the_error_for_an_unknown_study_in_an_override_lists_all_studies() -> None:
    message = read_compose_error("study=digit", study=None)
    assert "digit" in message
    assert all(study in message for study in STUDIES)


def test_the_error_for_a_definition_without_a_plugin_names_the_missing_file(conf: Path) -> None:
    (conf / "networks" / "vgg.yaml").write_text("options: {}\n")
    assert "edgeproof/networks/vgg.py" in read_compose_error("models.teacher.network=vgg", conf=conf)


# --- overrides -----------------------------------------------------------------------------------------------------


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
def test_the_error_for_an_override_out_of_range_names_its_key_and_file(override: str, key: str) -> None:
    message = read_compose_error(override)
    assert key in message
    assert "conf/" in message


@pytest.mark.parametrize("override", ["prune.ratoi=0.3", "modles.teacher.method=train"])
def test_the_error_for_an_override_of_an_unknown_key_says_how_to_list_the_keys(override: str) -> None:
    message = read_compose_error(override)
    assert override.partition("=")[0].rpartition(".")[2] in message
    assert "edgeproof compose --print" in message
    assert "full_key" not in message  # Hydra's insides


@pytest.mark.parametrize("override", ["prune.ratio==", "prune.ratio=[1", ""])
def test_an_override_that_cannot_be_parsed_is_a_config_error(override: str) -> None:
    assert "could not compose" in read_compose_error(override)


def test_keys_of_a_study_can_be_overridden() -> None:
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
def test_a_file_that_is_not_a_yaml_mapping_is_a_config_error(conf: Path, file: str, text: str) -> None:
    (conf / file).write_text(text)
    assert "conf" in read_compose_error(conf=conf)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: " + "9" * 10_000, "line 2: '9999"),
        ("a: " + "[" * 5_000, "line 2: nested deeper"),
        ("a: 1\na: 2", "line 3: duplicate key 'a'"),
        ("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
         + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)), "line 7: more than"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("file", ["study/digits.yaml", "methods/train.yaml", "config.yaml", "preset/quick.yaml"])
def test_a_file_that_hydra_would_choke_on_is_refused_with_its_line(
    conf: Path, file: str, text: str, problem: str
) -> None:
    (conf / file).write_text(f"# @package _global_\n{text}")
    message = read_compose_error("preset=quick", conf=conf)
    assert f"{file}, {problem}" in message


def test_a_broken_study_does_not_stop_another_one(conf: Path, digits_study: Params) -> None:
    (conf / "study/broken.yaml").write_text("a: [")
    (conf / "reports/broken_too.yaml").write_text("a: [")
    assert compose.compose("digits", conf=conf) == digits_study
    assert "study/broken.yaml, line 1: not YAML" in read_compose_error(study="broken", conf=conf)
    assert "study/broken.yaml, line 1: not YAML" in read_compose_error("study=broken", study=None, conf=conf)


@pytest.mark.parametrize("text", ["", "7", "defaults: 3", "defaults: [preset: quick]"])
def test_a_configuration_without_a_default_study_is_a_config_error(conf: Path, text: str) -> None:
    (conf / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml names no default study"):
        compose.read_default_study(conf)


@pytest.mark.parametrize("value", ["9" * 10_000, "[" * 3_000 + "]" * 3_000, ".inf", "inf", "1" + "0" * 30, "nan"])
@pytest.mark.parametrize("key", ["seed", "distill.temperature", "models.teacher.options.epochs", "bench.cool_down_s"])
def test_an_absurd_value_of_an_override_is_a_config_error_of_readable_length(key: str, value: str) -> None:
    assert len(read_compose_error(f"++{key}={value}")) < 6_000


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n"])
def test_the_error_for_an_empty_study_names_its_missing_keys(conf: Path, text: str) -> None:
    (conf / "study" / "digits.yaml").write_text("# @package _global_\n" + text)
    message = read_compose_error(conf=conf)
    assert "task: Field required" in message
    assert "models: Field required" in message


def test_a_file_that_is_not_text_is_a_config_error(conf: Path) -> None:
    (conf / "methods" / "train.yaml").write_bytes(b"\xff\xfe\xfa")
    assert read_compose_error(conf=conf)


def test_the_error_for_a_reference_to_an_unknown_key_names_the_key(conf: Path) -> None:
    edit(conf / "study" / "digits.yaml", threads="${nothing.like_it}")
    assert "nothing" in read_compose_error(conf=conf)


def test_a_value_that_refers_to_itself_is_a_config_error(conf: Path) -> None:
    edit(conf / "study" / "digits.yaml", threads="${threads}")
    assert "could not compose" in read_compose_error(conf=conf)


def test_the_error_for_a_mandatory_value_names_its_key(conf: Path) -> None:
    edit(conf / "study" / "digits.yaml", seed="???")
    assert "seed" in read_compose_error(conf=conf)


def test_a_missing_conf_directory_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        compose.compose(conf=tmp_path / "nowhere")
