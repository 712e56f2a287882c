"""Writing params.yaml, and noticing that it was edited by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edgeproof.config import params_file
from edgeproof.config.params import Params
from edgeproof.core.errors import UnknownNameError


def test_every_change_of_the_body_after_writing_counts_as_an_edit_by_hand(digits_study: Params, tmp_path: Path) -> None:
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
def test_the_header_shows_the_command_that_composed_the_file(
    digits_study: Params, tmp_path: Path, command: str, shown: str
) -> None:
    path = tmp_path / "params.yaml"
    params_file.write_params(digits_study, command, path)
    assert shown in path.read_text(encoding="utf-8").partition("\n")[0]


def test_written_params_are_read_back_equal(digits_study: Params, tmp_path: Path) -> None:
    params_file.write_params(digits_study, path=tmp_path / "params.yaml")
    assert params_file.read_params(tmp_path / "params.yaml") == digits_study


@pytest.mark.parametrize("name", ["null", "true", "no", "1e3", "0x1"])
def test_names_that_look_like_yaml_keywords_or_numbers_survive_writing(digits_study: Params, name: str) -> None:
    renamed = digits_study.model_copy(update={"study": name})
    assert yaml.load(params_file.dump_params(renamed), Loader=yaml.CSafeLoader)["study"] == name


@pytest.mark.parametrize("words", [[], ["local_onx"], ["local_onnx", "local_tflite"]])
def test_a_stage_without_exactly_one_known_argument_names_the_known_ones(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["stages/bench.py", *words])
    with pytest.raises(UnknownNameError, match=r"Known: local_onnx, local_tflite\. 'dvc repro' runs them all"):
        params_file.read_stage_argument("session", {"local_tflite": 1, "local_onnx": 2})


def test_a_stage_gets_its_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["stages/bench.py", "local_onnx"])
    assert params_file.read_stage_argument("session", ["local_onnx"]) == "local_onnx"
