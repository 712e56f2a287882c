"""Reading params.yaml: an error names the key, what is allowed and the next command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from edgeproof.config import params, params_file
from edgeproof.core.errors import ConfigError
from tests.support import study_contents

WriteContent = Callable[[Any], Path]


@pytest.fixture
def content(digits_study: params.Params) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(params_file.dump_params(digits_study), Loader=yaml.CSafeLoader)
    return content


@pytest.fixture
def write_content(tmp_path: Path) -> WriteContent:
    def write(content: Any) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return write


def test_dumped_params_are_read_back_equal(content: dict[str, Any], write_content: WriteContent) -> None:
    read = params_file.read_params(write_content(content))
    assert read.model_dump(mode="json", by_alias=True) == content
    assert read.study == "digits"


def test_the_error_for_a_missing_file_says_how_to_compose_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml is missing.*edgeproof compose"):
        params_file.read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "text",
    [b"a: [1, 2", b"a: b: c", b"\tx: 1", b"a: &b *c", b"!!python/object:os.system {}", b"a: \x00", b"\xff\xfe\xfa"],
)
def test_the_error_for_a_file_that_is_not_yaml_names_the_next_command(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match="edgeproof compose") as failure:
        params_file.read_params(path)
    assert str(path) in str(failure.value)


@pytest.mark.parametrize("content", [None, [], "text", 7])
def test_yaml_that_is_not_a_mapping_is_a_config_error(write_content: WriteContent, content: Any) -> None:
    with pytest.raises(ConfigError, match="problem"):
        params_file.read_params(write_content(content))


@pytest.mark.parametrize(
    ("place", "value", "key"),
    [
        ("schema", 2, "schema"),
        ("schema", "1", "schema"),
        ("study", "Digits!", "study"),
        ("task/quality_target", "0.9", "task.quality_target"),
        ("task/quality_floor", "0.9", "task.quality_floor"),
        ("task/metric", "../rmse", "task.metric"),
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
def test_the_error_for_a_wrong_value_names_its_key(
    content: dict[str, Any], write_content: WriteContent, place: str, value: Any, key: str
) -> None:
    study_contents.put(content, place, value)
    with pytest.raises(ConfigError) as failure:
        params_file.read_params(write_content(content))
    first = str(failure.value).splitlines()[1]
    assert key in first


@pytest.mark.parametrize("value", [10**30, -(10**30), 1e300, float("inf"), float("nan")])
@pytest.mark.parametrize(
    "place",
    [
        "task/validation_samples",
        "train/teacher/seeds",
        "train/teacher/options/learning_rate",
        "train/teacher/options/epochs",
        "bench/local_onnx/session",
        "bench/local_onnx/warm_up_s",
        "bench/local_onnx/quality_target",
        "bench/local_onnx/every/single_stream/settings/server_target_latency_ns",
    ],
)
def test_a_number_that_is_not_finite_or_absurdly_large_is_refused(
    content: dict[str, Any], write_content: WriteContent, place: str, value: float
) -> None:
    study_contents.put(content, place, [value] if place.endswith("seeds") else value)
    with pytest.raises(ConfigError) as failure:
        params_file.read_params(write_content(content))
    assert place.replace("/", ".") in str(failure.value)


@pytest.mark.parametrize(("place", "value"), [("task/seed", 2**32), ("bench/local_onnx/warm_up_s", 3600.1)])
def test_a_number_above_the_limit_of_its_key_is_refused(
    content: dict[str, Any], write_content: WriteContent, place: str, value: float
) -> None:
    study_contents.put(content, place, value)
    with pytest.raises(ConfigError, match=f"{place.replace('/', '.')}: Input should be less than or equal to"):
        params_file.read_params(write_content(content))


def test_an_error_shows_only_the_beginning_of_a_long_value(
    content: dict[str, Any], write_content: WriteContent
) -> None:
    study_contents.put(content, "study", "X" * 10_000)
    with pytest.raises(ConfigError) as failure:
        params_file.read_params(write_content(content))
    assert "given: 'XXX" in str(failure.value)
    assert len(str(failure.value)) < 1000


@pytest.mark.parametrize(
    ("place", "nearest"),
    [
        ("reprot", "report"),
        ("task/quality_targt", "quality_target"),
        ("train/teacher/optoins", "options"),
        ("bench/local_onnx/proceses", "processes"),
        ("bench/local_onnx/every/single_stream/lod", "load"),
        ("bench/local_onnx/every/single_stream/settings/min_duration", "min_duration_ms"),
    ],
)
def test_the_error_for_a_misspelt_key_suggests_the_right_one(
    content: dict[str, Any], write_content: WriteContent, place: str, nearest: str
) -> None:
    study_contents.put(content, place, 1)
    with pytest.raises(ConfigError) as failure:
        params_file.read_params(write_content(content))
    message = str(failure.value)
    assert f"{place.replace('/', '.')}: unknown key." in message
    assert f"Did you mean '{nearest}'?" in message
    assert "Allowed: " in message


def test_the_error_for_a_missing_key_names_it(content: dict[str, Any], write_content: WriteContent) -> None:
    del content["bench"]["local_onnx"]["session"]
    with pytest.raises(ConfigError, match=r"bench\.local_onnx\.session: Field required"):
        params_file.read_params(write_content(content))


def test_one_error_lists_all_problems(content: dict[str, Any], write_content: WriteContent) -> None:
    study_contents.put(content, "train/teacher/threads", 0)
    study_contents.put(content, "bench/local_onnx/processes", 0)
    study_contents.put(content, "extra", 1)
    with pytest.raises(ConfigError, match=r"3 problem\(s\)") as failure:
        params_file.read_params(write_content(content))
    assert len(str(failure.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("name", "stage"),
    [("teacher", "train"), ("student", "distill"), ("student_slim", "prune"), ("student_slim_w4", "quantize")],
)
def test_a_model_of_any_stage_can_be_looked_up(
    content: dict[str, Any], write_content: WriteContent, name: str, stage: str
) -> None:
    assert (
        params_file.read_params(write_content(content)).find_model(name).model_dump(mode="json") == content[stage][name]
    )


def test_the_error_for_an_unknown_model_suggests_the_nearest(
    content: dict[str, Any], write_content: WriteContent
) -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'teachr'\. Did you mean 'teacher'\?.*student_slim_w4"):
        params_file.read_params(write_content(content)).find_model("teachr")


def test_params_are_immutable(content: dict[str, Any], write_content: WriteContent) -> None:
    read = params_file.read_params(write_content(content))
    with pytest.raises(ValidationError, match="frozen"):
        read.study = "other"  # type: ignore[misc]


def test_the_former_key_of_interleaved_is_still_read(content: dict[str, Any], write_content: WriteContent) -> None:
    bench = content["bench"]["local_onnx"]
    del bench["interleaved"]
    bench["turns"] = 3
    assert params_file.read_params(write_content(content)).bench["local_onnx"].interleaved == 3
