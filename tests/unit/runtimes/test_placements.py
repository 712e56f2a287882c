"""Placements of hand-made files, whose kernels are known: the delegate, the provider, and integers or floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.placements import PlacedOperator
from tests.support import placed_models, tflite_files


def list_placements(runtime: str, directory: Path, x: np.ndarray) -> list[PlacedOperator]:
    operators: list[PlacedOperator] = plugins.load("runtimes", runtime).list_placements(directory, (x,), threads=1)
    return operators


def test_operators_that_xnnpack_has_no_kernel_for_run_on_litert_s_own(tmp_path: Path) -> None:
    placed_models.write_reversed_sum(tmp_path)
    operators = list_placements("tflite", tmp_path, np.ones((1, 3), np.float32))
    assert [(operator.kind, bool(operator.reason)) for operator in operators] == [
        ("ADD", False), ("REVERSE_V2", True), ("ADD", False)
    ]  # fmt: skip
    assert operators[0].where == "XNNPACK, float32"
    assert (operators[1].name, operators[1].where) == ("back", "LiteRT's own kernel, float32")


def test_a_file_that_the_delegate_takes_whole_has_no_fallback(tmp_path: Path) -> None:
    tflite_files.write_open_image(tmp_path / "model.tflite")
    (operator,) = list_placements("tflite", tmp_path, np.ones((1, 1, 1, 3), np.float32))
    assert (operator.kind, operator.reason) == ("MEAN", "")


def test_onnx_runtime_computes_both_convolutions_in_integers_and_the_operator_between_in_float(tmp_path: Path) -> None:
    placed_models.write_quantized_onnx(tmp_path)
    operators = list_placements("onnx", tmp_path, placed_models.make_input())
    fallbacks = [operator for operator in operators if operator.reason]
    assert [(operator.name, operator.kind) for operator in fallbacks] == [("gap", "Erf")]
    assert fallbacks[0].where == "CPUExecutionProvider, float"
    integers = [operator for operator in operators if operator.kind == "QLinearConv"]
    assert len(integers) == 2
    assert {operator.where for operator in integers} == {"CPUExecutionProvider, uint8"}


def test_an_operator_with_an_integer_kernel_leaves_no_gap(tmp_path: Path) -> None:
    placed_models.write_quantized_onnx(tmp_path, gap="Sigmoid")
    operators = list_placements("onnx", tmp_path, placed_models.make_input())
    assert not [operator for operator in operators if operator.reason]
    assert "QLinearSigmoid" in {operator.kind for operator in operators}


def test_openvino_names_the_convolution_that_the_file_leaves_in_float(tmp_path: Path) -> None:
    placed_models.write_quantized_openvino(tmp_path)
    operators = list_placements("openvino", tmp_path, placed_models.make_input())
    convolutions = [operator for operator in operators if operator.kind == "Convolution"]
    assert [bool(operator.reason) for operator in convolutions] == [False, True]
    assert "I8" in convolutions[0].where
    assert convolutions[1].reason == "left in float by the quantizer: computed in f32"
    assert sum(bool(operator.reason) for operator in operators) == 1
