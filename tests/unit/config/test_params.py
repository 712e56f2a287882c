"""params.yaml through its one loader: whatever is wrong is named with its key, what is allowed and the next step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from edgeproof.config import params, params_file
from edgeproof.core.errors import ConfigError

Written = Callable[[Any], Path]


@pytest.fixture
def content(digits_study: params.Params) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(params_file.dump_params(digits_study), Loader=yaml.CSafeLoader)
    return found


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(content: Any) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return write


def put(content: Any, place: str, value: Any) -> None:
    *way, last = [int(part) if part.isdigit() else part for part in place.split("/")]
    for part in way:
        content = content[part]
    content[last] = value


def test_what_was_composed_is_read_back_equal(content: dict[str, Any], written: Written) -> None:
    read = params_file.read_params(written(content))
    assert read.model_dump(mode="json", by_alias=True) == content
    assert read.study == "digits"


def test_a_missing_file_says_how_to_compose_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml is missing.*edgeproof compose"):
        params_file.read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "text",
    [b"a: [1, 2", b"a: b: c", b"\tx: 1", b"a: &b *c", b"!!python/object:os.system {}", b"a: \x00", b"\xff\xfe\xfa"],
)
def test_a_file_that_is_not_yaml_or_not_text_is_refused_with_the_next_step(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match="edgeproof compose") as caught:
        params_file.read_params(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [None, [], "text", 7])
def test_yaml_that_is_no_mapping_is_refused(written: Written, content: Any) -> None:
    with pytest.raises(ConfigError, match="problem"):
        params_file.read_params(written(content))


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("schema", 2, "schema"),
        ("schema", "1", "schema"),
        ("study", "Digits!", "study"),
        ("task/quality_target", 1.5, "task.quality_target"),
        ("task/quality_target", "0.9", "task.quality_target"),
        ("task/seed", -1, "task.seed"),
        ("task/validation_samples", 0, "task.validation_samples"),
        ("task/validation_samples", 20.5, "task.validation_samples"),
        ("task/files/digits.csv", "abc", "task.files.digits.csv"),
        ("task/files", {}, "task.files"),
        ("task/sources", [], "task.sources"),
        ("task/sources/0", {"kind": "torrent", "path": "x"}, "task.sources.0"),
        ("train/teacher/threads", 0, "train.teacher.threads"),
        ("train/teacher/threads", 257, "train.teacher.threads"),
        ("train/teacher/threads", True, "train.teacher.threads"),
        ("train/teacher/threads", "2", "train.teacher.threads"),
        ("train/teacher/seeds", [1.0], "train.teacher.seeds.0"),
        ("train/teacher/seeds", [], "train.teacher.seeds"),
        ("train/teacher/method", None, "train.teacher.method"),
        ("train/teacher/method", "../train", "train.teacher.method"),
        ("train/teacher/options", [1], "train.teacher.options"),
        ("export/teacher_onnx/schemes", [], "export.teacher_onnx.schemes"),
        ("export/teacher_onnx/schemes", "fp32", "export.teacher_onnx.schemes"),
        ("bench/local_onnx/processes", 0, "bench.local_onnx.processes"),
        ("bench/local_onnx/session", -1, "bench.local_onnx.session"),
        ("bench/local_onnx/all/server/load", 0.0, "bench.local_onnx.all.server.load"),
        ("bench/local_onnx/all/server/load", 1.01, "bench.local_onnx.all.server.load"),
        ("bench/local_onnx/all/server/scenario", "Serve", "bench.local_onnx.all.server.scenario"),
        ("bench/local_onnx/all/server/settings/min_duration_ms", 0, "settings.min_duration_ms"),
        ("bench/local_onnx/all/server/settings/min_query_count", 63, "settings.min_query_count"),
        ("report/baseline", "no model", "report.baseline"),
        ("report", None, "report"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_key(
    content: dict[str, Any], written: Written, place: str, value: Any, told: str
) -> None:
    put(content, place, value)
    with pytest.raises(ConfigError) as caught:
        params_file.read_params(written(content))
    first = str(caught.value).splitlines()[1]
    assert told in first


def test_a_wrong_value_is_shown_but_never_at_length(content: dict[str, Any], written: Written) -> None:
    put(content, "study", "X" * 10_000)
    with pytest.raises(ConfigError) as caught:
        params_file.read_params(written(content))
    assert "given: 'XXX" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("place", "meant"),
    [
        ("reprot", "report"),
        ("task/quality_targt", "quality_target"),
        ("train/teacher/optoins", "options"),
        ("bench/local_onnx/proceses", "processes"),
        ("bench/local_onnx/every/single_stream/lod", "load"),
        ("bench/local_onnx/every/single_stream/settings/min_duration", "min_duration_ms"),
    ],
)
def test_a_key_with_a_typo_is_refused_with_the_key_that_was_meant(
    content: dict[str, Any], written: Written, place: str, meant: str
) -> None:
    put(content, place, 1)
    with pytest.raises(ConfigError) as caught:
        params_file.read_params(written(content))
    message = str(caught.value)
    assert f"{place.replace('/', '.')}: unknown key." in message
    assert f"Did you mean '{meant}'?" in message
    assert "Allowed: " in message


def test_a_missing_key_is_named(content: dict[str, Any], written: Written) -> None:
    del content["bench"]["local_onnx"]["session"]
    with pytest.raises(ConfigError, match=r"bench\.local_onnx\.session: Field required"):
        params_file.read_params(written(content))


def test_all_problems_are_listed_at_once(content: dict[str, Any], written: Written) -> None:
    put(content, "train/teacher/threads", 0)
    put(content, "bench/local_onnx/processes", 0)
    put(content, "extra", 1)
    with pytest.raises(ConfigError, match=r"3 problem\(s\)") as caught:
        params_file.read_params(written(content))
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("name", "family"),
    [("teacher", "train"), ("student", "distill"), ("student_slim", "prune"), ("student_slim_w4", "quantize")],
)
def test_a_model_is_found_in_whichever_family_made_it(
    content: dict[str, Any], written: Written, name: str, family: str
) -> None:
    assert params_file.read_params(written(content)).model(name).model_dump(mode="json") == content[family][name]


def test_an_unknown_model_is_refused_with_the_nearest(content: dict[str, Any], written: Written) -> None:
    with pytest.raises(ConfigError, match=r"no model 'teachr'\. Did you mean 'teacher'\?.*student_slim_w4"):
        params_file.read_params(written(content)).model("teachr")


def test_params_cannot_be_changed_after_they_were_read(content: dict[str, Any], written: Written) -> None:
    read = params_file.read_params(written(content))
    with pytest.raises(ValidationError, match="frozen"):
        read.study = "other"  # type: ignore[misc]
