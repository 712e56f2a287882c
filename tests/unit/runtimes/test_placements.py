"""Placements of hand-made files, whose kernels are known: the delegate, the provider, and integers or floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgeproof.core import plugins
from edgeproof.core.placements import LEFT_IN_FLOAT, PlacedOperator, explain_floats
from tests.support import placed_models, tflite_files
from tests.support.absent_runtimes import is_absent

SAMPLES = (np.random.default_rng(0).standard_normal((4, 2, 6, 6)).astype(np.float32),)


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
    assert "i8" in convolutions[0].where.lower()
    assert convolutions[1].reason == "left in float by the quantizer: computed in f32"
    assert sum(bool(operator.reason) for operator in operators) == 1


def test_floats_are_expected_only_in_files_that_compute_nothing_in_integers() -> None:
    convert, compute = PlacedOperator("q", "QUANTIZE", "CPU, int8"), PlacedOperator("c", "CONV_2D", "CPU, float32")
    assert explain_floats([convert, compute], ["QUANTIZE"]) == [convert, compute]
    integers = PlacedOperator("i", "CONV_2D", "CPU, int8")
    refused = PlacedOperator("r", "EXP", "own kernel, float32", "not delegated")
    explained = explain_floats([convert, compute, integers, refused], ["QUANTIZE"])
    assert [operator.reason for operator in explained] == ["", LEFT_IN_FLOAT, "", "not delegated"]


class ReducedConvolution(torch.nn.Module):
    """A convolution and the mean of its pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(2, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(x).mean((2, 3))


def test_executorch_runs_operators_that_xnnpack_refuses_on_portable_kernels(tmp_path: Path) -> None:
    if is_absent("executorch"):
        return
    module = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.LayerNorm(6)).eval()
    plugins.load("runtimes", "executorch").export(module, SAMPLES, "fp32", tmp_path)
    operators = list_placements("executorch", tmp_path, SAMPLES[0][:1])
    assert [(operator.kind, operator.where, bool(operator.reason)) for operator in operators] == [
        ("linear", "XNNPACK", False), ("native_layer_norm", "portable kernel", True)
    ]  # fmt: skip


def test_mnn_names_the_mean_that_runs_in_float_between_integers(tmp_path: Path) -> None:
    if is_absent("mnn"):
        return
    plugins.load("runtimes", "mnn").export(ReducedConvolution().eval(), SAMPLES, "int8-static", tmp_path)
    operators = list_placements("mnn", tmp_path, SAMPLES[0][:1])
    assert [operator.where for operator in operators if operator.kind == "Convolution"] == ["CPU, int8"]
    assert [operator.kind for operator in operators if operator.reason] == ["Reduction"]


def test_every_layer_of_ncnn_runs_on_the_cpu(tmp_path: Path) -> None:
    if is_absent("ncnn"):
        return
    plugins.load("runtimes", "ncnn").export(ReducedConvolution().eval(), SAMPLES, "fp32", tmp_path)
    operators = list_placements("ncnn", tmp_path, SAMPLES[0][:1])
    assert [operator.kind for operator in operators] == ["Convolution", "Reduction"]
    assert {(operator.where, operator.reason) for operator in operators} == {("CPU", "")}


def test_the_kernels_of_microcontrollers_run_every_operator_of_the_file(tmp_path: Path) -> None:
    if is_absent("tflm"):
        return
    placed_models.write_reversed_sum(tmp_path)
    operators = list_placements("tflm", tmp_path, np.ones((1, 3), np.float32))
    assert [operator.kind for operator in operators] == ["ADD", "REVERSE_V2", "ADD"]
    assert {(operator.where, operator.reason) for operator in operators} == {("reference kernel, float32", "")}
