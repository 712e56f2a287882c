"""TensorRT: the exported files, run by ONNX Runtime, and the session with a stub of TensorRT and CUDA."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper

from edgeproof.core.errors import Unsupported
from edgeproof.runtimes import tensorrt
from tests.contracts.conftest import build_module
from tests.support.runtime_tolerances import TOLERANCE
from tests.support.tensorrt_stub import Gpu

SAMPLES = np.random.default_rng(0).normal(size=(16, 1, 28, 28)).astype(np.float32)


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    return build_module()


def plug_in(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, stub in gpu.modules.items():
        monkeypatch.setitem(sys.modules, name, stub)


def export(module: torch.nn.Module, scheme: str, out: Path) -> Path:
    tensorrt.export(module, (SAMPLES,), scheme, out)
    return out / tensorrt.FILE


@pytest.mark.parametrize("scheme", ["fp32", "fp16", "int8-static"])
def test_onnx_runtime_computes_what_torch_computes_within_the_number_format(
    scheme: str, module: torch.nn.Module, tmp_path: Path
) -> None:
    session = onnxruntime.InferenceSession(export(module, scheme, tmp_path))
    outputs = np.concatenate([session.run(None, {"input": SAMPLES[i : i + 1]})[0] for i in range(len(SAMPLES))])
    with torch.no_grad():
        expected = module(torch.from_numpy(SAMPLES)).numpy()
    assert np.abs(outputs - expected).max() <= TOLERANCE[scheme] * np.abs(expected).max()


def test_the_integers_are_those_that_tensorrt_has(module: torch.nn.Module, tmp_path: Path) -> None:
    # Its guide, "Working with Quantized Types": int8 with a zero point of zero, and no integer biases.
    graph = onnx.load(export(module, "int8-static", tmp_path)).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    quantizing = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(quantizing) > 10
    zeros = [constants[node.input[2]] for node in quantizing]
    assert {tensor.data_type for tensor in zeros} == {TensorProto.INT8}
    assert not any(numpy_helper.to_array(tensor).any() for tensor in zeros)
    assert TensorProto.INT32 not in {tensor.data_type for tensor in constants.values()}


def test_a_session_copies_runs_and_waits_for_the_stream(
    module: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu()
    plug_in(gpu, monkeypatch)
    session = tensorrt.Session(export(module, "fp32", tmp_path).parent, threads=1)
    first = session(SAMPLES[:1])
    with torch.no_grad():
        expected = module(torch.from_numpy(SAMPLES[:2])).numpy()
    np.testing.assert_allclose(first[0], expected[:1], atol=1e-5)
    assert session(SAMPLES[1:2]) is first
    np.testing.assert_allclose(first[0], expected[1:2], atol=1e-5)
    assert not gpu.queue
    assert gpu.flags == ["network 2", "without TF32"]  # strongly typed, and no rounding of fp32
    assert tensorrt.describe() == {"version": "11.4.0", "gpu": "Stub 1"}


def test_feed_and_fetch_copy_and_invoke_runs(
    module: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(Gpu(), monkeypatch)
    session = tensorrt.Session(export(module, "fp32", tmp_path).parent, threads=1)
    before = session(SAMPLES[:1])[0].copy()
    session.feed(SAMPLES[1:2])
    np.testing.assert_array_equal(session.fetch()[0], before)
    session.invoke()
    assert not np.array_equal(session.fetch()[0], before)


def test_without_tensorrt_the_reason_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(Unsupported, match=r"pip install 'edgeproof\[tensorrt\]'"):
        tensorrt.Session(Path(), threads=1)
    assert tensorrt.describe() == {}


def test_without_a_gpu_the_reason_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(Gpu(devices=0), monkeypatch)
    with pytest.raises(Unsupported, match="no GPU of NVIDIA answers on this device"):
        tensorrt.Session(Path(), threads=1)


def test_a_file_that_tensorrt_refuses_is_unsupported_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(Gpu(), monkeypatch)
    onnx.save(onnx.ModelProto(), tmp_path / tensorrt.FILE)
    with pytest.raises(Unsupported, match=r"TensorRT cannot read the ONNX file: .+"):
        tensorrt.Session(tmp_path, threads=1)
