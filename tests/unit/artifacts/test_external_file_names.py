"""Names of external files in tables and directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproof.artifacts.external.names import name_files
from edgeproof.core.errors import ConfigError


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a-B.onnx", "c.xml", "c.onnx", "saved"], ["a_b", "c_xml", "c_onnx", "saved"]),
        (["v1/model.onnx", "v2/model.onnx"], ["v1_model", "v2_model"]),
        (["v1/model.onnx", "v2/model.onnx", "v2/model.xml"], ["v1_model", "v2_model_onnx", "model_xml"]),
        (["one/x/m.onnx", "two/x/m.onnx"], ["one_x_m", "two_x_m"]),
        (["模型.onnx", "Café.tflite", "МОДЕЛЬ.ONNX"], ["模型", "café", "модель"]),
        (["🙂.onnx"], ["model"]),
        ([f"{'ж' * 120}.onnx"], ["ж" * 75]),
    ],
)
def test_files_are_named_by_stems_and_by_suffixes_or_directories_where_stems_repeat(
    paths: list[str], names: list[str]
) -> None:
    assert name_files([Path(path) for path in paths]) == names


def test_a_file_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"m\.onnx is given twice"):
        name_files([Path("m.onnx"), Path("./m.onnx")])


def test_files_whose_names_differ_only_in_the_case_of_letters_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"a\.onnx has no unique name"):
        name_files([Path("a.onnx"), Path("A.onnx")])
