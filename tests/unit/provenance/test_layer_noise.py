"""Noise of layers: ratios equal to numpy's, cuts at shared names, and a layer that is quantized badly comes first."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeproof.core import plugins
from edgeproof.core.layer_graphs import GraphNode, LayerGraph, select_computed
from edgeproof.provenance.layer_noise import compute_snr_db, find_parts, measure_noise

SIZE = 8
LAYERS = ("first", "second", "third")


def make_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {name: rng.standard_normal((SIZE, SIZE)).astype(np.float32) for name in LAYERS}


def make_samples() -> np.ndarray:
    return np.random.default_rng(4).standard_normal((5, SIZE)).astype(np.float32)


def to_pictures(samples: np.ndarray) -> np.ndarray:
    return samples.reshape(-1, SIZE, 1, 1)


def write_onnx(directory: Path, weights: dict[str, np.ndarray], steps: dict[str, float] | None = None) -> Path:
    """Write three convolutions with a ReLU behind each. `steps` are the scales of weights; their zero point is 0.

    They are 1 × 1. ONNX Runtime would compute a MatMul of such weights with rounded activations (MatMulNBits).
    """
    directory.mkdir()
    nodes, constants, source = [], [], "x"
    for name in LAYERS:
        weight, values = f"{name}.weight", weights[name].T.reshape(SIZE, SIZE, 1, 1)
        if steps is None:
            constants.append(numpy_helper.from_array(values, weight))
        else:
            integers = np.clip(np.rint(values / steps[name]), -127, 127).astype(np.int8)
            scale, zero = np.float32(steps[name]), np.int8(0)
            parts = {f"{weight}_q": integers, f"{weight}_s": np.array(scale), f"{weight}_z": np.array(zero)}
            constants += [numpy_helper.from_array(value, part) for part, value in parts.items()]
            nodes.append(helper.make_node("DequantizeLinear", list(parts), [weight]))
        nodes.append(helper.make_node("Conv", [source, weight], [f"{name}.product"]))
        nodes.append(helper.make_node("Relu", [f"{name}.product"], [name]))
        source = name
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, SIZE, 1, 1]) for name in ("x", LAYERS[-1])]
    graph = helper.make_graph(nodes, "layers", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, directory / "model.onnx")
    return directory


def open_layers(directory: Path) -> LayerGraph:
    graph: LayerGraph = plugins.load("runtimes", "onnx").open_layers(directory)
    return graph


def compute(weights: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the layers' outputs by numpy, in double precision."""
    outputs, value = {}, x.astype(np.float64)
    for name in LAYERS:
        value = np.maximum(value @ weights[name].astype(np.float64), 0)
        outputs[name] = value
    return outputs


def test_own_and_cumulative_ratios_equal_numpys(tmp_path: Path) -> None:
    weights, x = make_weights(), make_samples()
    steps = {"first": 0.02, "second": 0.2, "third": 0.01}
    rounded = {name: np.clip(np.rint(weights[name] / steps[name]), -127, 127) * steps[name] for name in LAYERS}
    quantized = open_layers(write_onnx(tmp_path / "int8", weights, steps))
    report = measure_noise(open_layers(write_onnx(tmp_path / "fp32", weights)), quantized, [to_pictures(x)])
    assert not report.unmatched
    signal, noisy = compute(weights, x), compute(rounded, x)
    layers = {layer.name: layer for layer in report.layers}
    source = x
    for name in LAYERS:
        product = np.sum((source @ weights[name]) ** 2) / np.sum((source @ (rounded[name] - weights[name])) ** 2)
        assert layers[f"{name}.product"].own_db == pytest.approx(10 * math.log10(product), abs=0.01)
        noise = np.sum((noisy[name] - signal[name]) ** 2)
        assert layers[name].cumulative_db == pytest.approx(10 * math.log10(np.sum(signal[name] ** 2) / noise), abs=0.01)
        assert layers[name].own_db > 120  # a ReLU adds no noise
        source = signal[name]


@pytest.mark.parametrize("bad", LAYERS)
def test_a_layer_with_a_scale_that_is_far_too_coarse_is_named_first(tmp_path: Path, bad: str) -> None:
    weights = make_weights()
    steps = {name: 1.0 if name == bad else 0.03 for name in LAYERS}
    quantized = open_layers(write_onnx(tmp_path / "int8", weights, steps))
    report = measure_noise(
        open_layers(write_onnx(tmp_path / "fp32", weights)), quantized, [to_pictures(make_samples())]
    )
    worst = report.sort_by_own()[0]
    assert (worst.name, worst.kind) == (f"{bad}.product", "Conv")
    assert worst.own_db < min(layer.own_db for layer in report.layers if layer is not worst) - 15


def test_equal_files_have_no_noise_at_all(tmp_path: Path) -> None:
    fp32 = open_layers(write_onnx(tmp_path / "fp32", make_weights()))
    report = measure_noise(fp32, open_layers(tmp_path / "fp32"), [to_pictures(make_samples())])
    assert {(layer.own_db, layer.cumulative_db) for layer in report.layers} == {(math.inf, math.inf)}


def test_tensors_without_a_counterpart_are_listed_and_their_nodes_join_the_next_layer() -> None:
    nodes = [
        GraphNode("QuantizeLinear", ("x",), ("x_q",)),
        GraphNode("ConvInteger", ("x_q",), ("#sum",)),
        GraphNode("Mul", ("#sum",), ("y",)),
        GraphNode("Relu", ("y",), ("z",)),
        GraphNode("Add", ("z", "x"), ("out",)),
    ]
    parts = list(find_parts(nodes, ["x"], {"y", "out", "gone"}, ["QuantizeLinear"]))
    assert [(part.name, part.kind, part.inputs) for part in parts] == [
        ("y", "ConvInteger", ("x",)),
        ("out", "Add", ("x", "y")),
    ]


def test_nodes_of_constants_alone_are_left_out() -> None:
    nodes = [GraphNode("Cast", ("weight",), ("wide",)), GraphNode("MatMul", ("x", "wide"), ("y",))]
    assert select_computed(nodes, ["x"]) == [GraphNode("MatMul", ("x",), ("y",))]


@given(st.floats(-60, 120), st.integers(0, 1000))
def test_noise_of_a_known_power_has_its_ratio(ratio_db: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    signal, noise = rng.standard_normal((2, 500))
    noise *= np.linalg.norm(signal) / np.linalg.norm(noise) * 10 ** (-ratio_db / 20)
    parts = np.array_split(signal, 3), np.array_split(signal + noise, 3)
    assert compute_snr_db(*parts) == pytest.approx(ratio_db, abs=1e-4)


def test_a_signal_of_zeros_has_no_ratio() -> None:
    zeros, ones = np.zeros(3), np.ones(3)
    assert compute_snr_db([zeros], [zeros]) == math.inf
    assert compute_snr_db([zeros], [ones]) == -math.inf
