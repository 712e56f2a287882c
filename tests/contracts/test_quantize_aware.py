"""Quantization-aware training ends in an artifact that really computes in integers, as its fake quantization did."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeproof.core import plugins
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import Unsupported
from edgeproof.methods import quantize_aware
from edgeproof.models import qat
from edgeproof.models.training import TrainingTask
from tests.support.tiny_networks import read_short_options

RUNTIMES = sorted(qat.ACTIVATION_DTYPES)


def trained(name: str, module: torch.nn.Module, task: TrainingTask) -> qat.FakeQuantizedModule:
    return quantize_aware.apply(module, task, **read_short_options("quantize_aware") | {"runtime": name})


def lowered(name: str, prepared: qat.FakeQuantizedModule, samples: np.ndarray, out: Path) -> Path:
    out.mkdir(parents=True)
    plugins.load("runtimes", name).export(prepared, samples, qat.SCHEME, out)
    return out


def in_integers_onnx(artifact: Path, session: Any, tmp_path: Path) -> None:
    import onnx
    import onnxruntime as ort

    stored = onnx.load(artifact / "model.onnx").graph
    kinds = {t.name: t.data_type for t in stored.initializer}
    weights = [kinds[n.input[0]] for n in stored.node if n.op_type == "DequantizeLinear" and n.input[0] in kinds]
    assert weights.count(onnx.TensorProto.INT8) == 7
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(artifact / "model.onnx", options, providers=["CPUExecutionProvider"])
    run = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert run.count("QLinearConv") == 6
    assert run.count("QGemm") == 1
    assert not {"Conv", "Gemm", "MatMul", "Add"} & set(run)


def in_integers_tflite(artifact: Path, session: Any, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    kinds = [np.dtype(t["dtype"]).name for t in Interpreter(str(artifact / "model.tflite")).get_tensor_details()]
    assert set(kinds) == {"int8", "int32"}


def in_integers_openvino(artifact: Path, session: Any, tmp_path: Path) -> None:
    told = [node.get_rt_info() for node in session._compiled.get_runtime_model().get_ops()]
    run = [(t["layerType"].astype(str), t["runtimePrecision"].astype(str)) for t in told]
    heavy = [precision for kind, precision in run if kind in ("Convolution", "FullyConnected")]
    assert len(heavy) == 7
    assert set(heavy) <= {"u8", "i8"}


@pytest.mark.parametrize("name", RUNTIMES)
def test_an_artifact_computes_in_integers_what_the_network_was_trained_to(
    name: str, module: torch.nn.Module, task: TrainingTask, samples: np.ndarray, tmp_path: Path
) -> None:
    prepared = trained(name, module, task)
    artifact = lowered(name, prepared, samples, tmp_path / "artifact")
    session = plugins.load("runtimes", name).Session(artifact, threads=1)
    outputs = np.concatenate([session(samples[i : i + 1]).copy() for i in range(len(samples))])
    with torch.no_grad():
        expected = prepared(torch.from_numpy(samples)).numpy()
    last = [m for m in prepared.graph.modules() if hasattr(m, "fake_quant_enabled")][-1]
    steps = np.abs(outputs - expected) / float(last.scale)
    # Where a value lies between two steps, other orders of addition round to the other one.
    assert (steps < 1.5).all()
    assert (steps < 0.5).mean() > 0.75
    globals()[f"in_integers_{name}"](artifact, session, tmp_path)


@pytest.mark.parametrize("name", RUNTIMES)
def test_an_export_is_the_same_to_the_bit_whatever_was_exported_before(
    name: str, module: torch.nn.Module, task: TrainingTask, samples: np.ndarray, tmp_path: Path
) -> None:
    prepared = trained(name, module, task)
    first = lowered(name, copy.deepcopy(prepared), samples, tmp_path / "first")
    (tmp_path / "between").mkdir()
    plugins.load("runtimes", name).export(module, samples, "fp32", tmp_path / "between")
    again = lowered(name, prepared, samples, tmp_path / "elsewhere" / "again")
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert [hash_file(first / n) for n in names] == [hash_file(again / n) for n in names]
    for path in first.iterdir():
        content = path.read_bytes()
        assert str(tmp_path).encode() not in content
        assert str(Path(__file__).parents[2]).encode() not in content


def test_integers_that_openvino_cannot_load_are_unsupported_with_its_reason(
    task: TrainingTask, samples: np.ndarray, tmp_path: Path
) -> None:
    recurrent = plugins.load("networks", "gru").build(task.input_shape, task.classes, hidden=64)
    with pytest.raises(Unsupported, match=r"can't load this network's trained integers: .*make_tensor"):
        lowered("openvino", trained("openvino", recurrent, task), samples, tmp_path / "artifact")
