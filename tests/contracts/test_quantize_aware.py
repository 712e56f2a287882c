"""Quantization-aware training: the artifact computes in integers what the fake quantization computed."""

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
from edgeproof.models.training_task import TrainingTask
from tests.contracts.conftest import build_module
from tests.support.absent_runtimes import is_absent
from tests.support.runtime_tolerances import SATURATING_RUNTIMES, has_exact_products
from tests.support.tiny_networks import read_short_options

RUNTIMES = sorted(qat.ACTIVATION_DTYPES)


def train(name: str, module: torch.nn.Module, task: TrainingTask) -> qat.FakeQuantizedModule:
    return quantize_aware.apply(module, task, **read_short_options("quantize_aware") | {"runtime": name})


def export(name: str, prepared: qat.FakeQuantizedModule, samples: np.ndarray, out: Path) -> Path:
    out.mkdir(parents=True)
    module = qat.select_for_export(prepared, name, qat.SCHEME)
    plugins.load("runtimes", name).export(module, (samples,), qat.SCHEME, out)
    return out


def check_integers_onnx(artifact: Path, session: Any, tmp_path: Path) -> None:
    import onnx
    import onnxruntime as ort

    graph = onnx.load(artifact / "model.onnx").graph
    types = {t.name: t.data_type for t in graph.initializer}
    weights = [types[n.input[0]] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in types]
    assert weights.count(onnx.TensorProto.INT8) == 7
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(artifact / "model.onnx", options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert operators.count("QLinearConv") == 6
    assert operators.count("QGemm") == 1
    assert not {"Conv", "Gemm", "MatMul", "Add"} & set(operators)


def check_integers_tflite(artifact: Path, session: Any, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    kinds = [np.dtype(t["dtype"]).name for t in Interpreter(str(artifact / "model.tflite")).get_tensor_details()]
    assert set(kinds) == {"int8", "int32"}


def check_integers_openvino(artifact: Path, session: Any, tmp_path: Path) -> None:
    infos = [node.get_rt_info() for node in session._compiled.get_runtime_model().get_ops()]
    layers = [(info["layerType"].astype(str), info["runtimePrecision"].astype(str)) for info in infos]
    precisions = [precision for kind, precision in layers if kind in ("Convolution", "FullyConnected")]
    assert len(precisions) == 7
    assert set(precisions) <= {"u8", "i8"}


def check_integers_executorch(artifact: Path, session: Any, tmp_path: Path) -> None:
    from executorch.exir._serialize._program import deserialize_pte_binary

    (plan,) = deserialize_pte_binary((artifact / "model.pte").read_bytes()).program.execution_plan
    assert [delegate.id for delegate in plan.delegates] == ["XnnpackBackend"]
    assert plan.operators == []  # all is delegated
    # With weights of four bytes the quantized program would be the larger one.
    (tmp_path / "floats").mkdir()
    plugins.load("runtimes", "executorch").export(build_module(), (session._inputs[0],), "fp32", tmp_path / "floats")
    sizes = [(directory / "model.pte").stat().st_size for directory in (tmp_path / "floats", artifact)]
    assert sizes[0] - sizes[1] > sum(parameter.numel() for parameter in build_module().parameters())


INTEGER_CHECKS = {
    "executorch": check_integers_executorch,
    "onnx": check_integers_onnx,
    "tflite": check_integers_tflite,
    "openvino": check_integers_openvino,
}


@pytest.mark.parametrize("name", RUNTIMES)
def test_an_artifact_computes_in_integers_the_outputs_of_the_trained_network(
    name: str, module: torch.nn.Module, task: TrainingTask, samples: np.ndarray, tmp_path: Path
) -> None:
    if is_absent(name):
        return
    if name in SATURATING_RUNTIMES and not has_exact_products():
        pytest.skip(f"this processor has no VNNI, so sums of 8-bit products saturate in {name}")
    prepared = train(name, module, task)
    artifact = export(name, prepared, samples, tmp_path / "artifact")
    session = plugins.load("runtimes", name).Session(artifact, threads=1)
    outputs = np.concatenate([session(samples[i : i + 1])[0].copy() for i in range(len(samples))])
    with torch.no_grad():
        expected = prepared(torch.from_numpy(samples)).numpy()
    last = [m for m in prepared.graph.modules() if hasattr(m, "fake_quant_enabled")][-1]
    steps = np.abs(outputs - expected) / float(last.scale)
    # A value between two steps may be rounded to the other one if numbers are added in another order.
    assert (steps < 1.5).all()
    assert (steps < 0.5).mean() > 0.75
    INTEGER_CHECKS[name](artifact, session, tmp_path)


@pytest.mark.parametrize("name", RUNTIMES)
def test_an_export_has_the_same_bytes_after_any_other_export(
    name: str, module: torch.nn.Module, task: TrainingTask, samples: np.ndarray, tmp_path: Path
) -> None:
    if is_absent(name):
        return
    prepared = train(name, module, task)
    first = export(name, copy.deepcopy(prepared), samples, tmp_path / "first")
    (tmp_path / "between").mkdir()
    plugins.load("runtimes", name).export(module, (samples,), "fp32", tmp_path / "between")
    again = export(name, prepared, samples, tmp_path / "elsewhere" / "again")
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert [hash_file(first / n) for n in names] == [hash_file(again / n) for n in names]
    for path in first.iterdir():
        content = path.read_bytes()
        assert str(tmp_path).encode() not in content
        assert str(Path(__file__).parents[2]).encode() not in content


def test_a_network_that_openvino_cannot_load_is_unsupported_with_its_reason(
    task: TrainingTask, samples: np.ndarray, tmp_path: Path
) -> None:
    recurrent = plugins.load("networks", "gru").build(task.inputs, task.outputs, hidden=64)
    with pytest.raises(Unsupported, match=r"can't load this network's trained integers: .*make_tensor"):
        export("openvino", train("openvino", recurrent, task), samples, tmp_path / "artifact")
