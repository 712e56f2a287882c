"""The method brought: an ONNX or TFLite file gives the outputs that its engine gives, and teaches a student."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from edgeproof.core.errors import ConfigError, DataError
from edgeproof.methods import brought, distill
from edgeproof.models import model_files
from edgeproof.models.model_files import NetworkSpec
from edgeproof.models.training_task import TrainingTask, compute_outputs
from tests.support import tflite_files
from tests.support.method_inputs import RECIPE, SHAPE, build_module, make_task
from tests.support.training_tasks import make_training_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

MATRIX = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)


def write_onnx(
    path: Path, *, batch: int | str = "batch", shape: tuple[int, ...] = SHAPE, softmax: bool = False
) -> Path:
    """Write a file that multiplies the flattened input by MATRIX."""
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "m"], ["y"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["y"], ["z"]))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info("z" if softmax else "y", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(MATRIX[: int(np.prod(shape))], "m")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def task() -> TrainingTask:
    return make_task()


def bring(path: Path, task: TrainingTask, *, scores: str = "logits") -> torch.nn.Module:
    module = build_spec(task, scores).build()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return brought.apply(module, task, file=str(path), sha256=sha256)


def build_spec(task: TrainingTask, scores: str = "logits") -> NetworkSpec:
    return NetworkSpec("brought", {"scores": scores}, task.inputs, task.outputs)


@pytest.mark.parametrize("batch", ["batch", 1])
def test_the_outputs_are_those_of_the_file(batch: int | str, task: TrainingTask, tmp_path: Path) -> None:
    module = bring(write_onnx(tmp_path / "a.onnx", batch=batch), task)
    expected = task.train.inputs[0].numpy().reshape(32, -1) @ MATRIX
    np.testing.assert_allclose(compute_outputs(module, task.train.inputs), expected, rtol=1e-4, atol=1e-4)


def test_inputs_are_turned_for_a_file_with_channels_last(task: TrainingTask, tmp_path: Path) -> None:
    module = bring(write_onnx(tmp_path / "a.onnx", shape=(8, 8, 1)), task)
    expected = np.moveaxis(task.train.inputs[0].numpy(), 1, -1).reshape(32, -1) @ MATRIX
    np.testing.assert_allclose(compute_outputs(module, task.train.inputs), expected, rtol=1e-4, atol=1e-4)


def test_the_logarithm_of_probabilities_is_taken(task: TrainingTask, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx", softmax=True)
    with pytest.raises(ConfigError, match="scores: probabilities"):
        bring(path, task)
    logits = compute_outputs(bring(path, task, scores="probabilities"), task.train.inputs)
    expected = torch.from_numpy(task.train.inputs[0].numpy().reshape(32, -1) @ MATRIX).log_softmax(dim=1)
    torch.testing.assert_close(logits, expected.clamp(min=float(np.log(1e-7))), rtol=1e-3, atol=1e-3)


def test_a_tflite_file_with_open_sizes_and_channels_last_is_run(tmp_path: Path) -> None:
    pictures = torch.randn(6, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    task = make_training_task(pictures, torch.arange(6) % 3, 3)
    path = tflite_files.write_open_image(tmp_path / "a.tflite")
    expected = pictures.numpy().mean(axis=(2, 3))
    np.testing.assert_allclose(compute_outputs(bring(path, task), (pictures,)), expected, rtol=1e-5, atol=1e-6)


def test_a_quantized_tflite_file_takes_and_gives_real_numbers(tmp_path: Path) -> None:
    values = torch.linspace(-1, 1, 24).reshape(8, 3)
    task = make_training_task(values, torch.arange(8) % 3, 3)
    path = tflite_files.write_quantized_copy(tmp_path / "a.tflite", schema.TensorType.INT8, scale=0.01, zero=5, size=3)
    np.testing.assert_allclose(compute_outputs(bring(path, task), (values,)), values, atol=0.0051)


def test_a_stored_model_is_complete_without_the_file(task: TrainingTask, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx")
    module = bring(path, task)
    expected = compute_outputs(module, task.train.inputs)
    meta = model_files.save(module, build_spec(task), {"name": "vendor"}, tmp_path / "vendor")
    path.unlink()
    again, _, _ = model_files.load(tmp_path / "vendor")
    torch.testing.assert_close(compute_outputs(again, task.train.inputs), expected)
    assert meta["parameters"] == 0


def test_a_student_learns_from_the_file(task: TrainingTask, tmp_path: Path) -> None:
    teacher = bring(write_onnx(tmp_path / "a.onnx"), task)
    options: dict[str, Any] = {**RECIPE, "epochs": 30, "optimizer": "adamw", "temperature": 2.0, "hard_weight": 0.0}
    student = distill.apply(build_module(), task, teacher=teacher, **options)
    own, wanted = (compute_outputs(module, task.train.inputs).argmax(dim=1) for module in (student, teacher))
    assert (own == wanted).float().mean() > 0.8


@pytest.mark.parametrize("shape", [(1, 4, 4), (16,)])
def test_a_file_for_other_inputs_is_refused_with_both_shapes(
    shape: tuple[int, ...], task: TrainingTask, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=r"takes an input of shape .* and the task gives 'image' of shape \(1, 8, 8\)"
    ):
        bring(write_onnx(tmp_path / "a.onnx", shape=shape), task)


@pytest.mark.parametrize("content", [b"", b"text", b"\0\0\0\0TFL3damaged"])
def test_a_file_that_is_no_model_is_refused(content: bytes, task: TrainingTask, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(DataError, match="no ONNX or TFLite model that can be run"):
        bring(tmp_path / "a.onnx", task)


def test_another_file_and_another_network_are_refused(task: TrainingTask, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx")
    with pytest.raises(DataError, match="differs from the option 'sha256'"):
        brought.apply(build_spec(task).build(), task, file=str(path), sha256="0" * 64)
    with pytest.raises(ConfigError, match="Write 'network: brought'"):
        brought.apply(build_module(), task, file=str(path), sha256="0" * 64)


def test_a_published_file_is_taken_from_its_sources_and_verified(
    task: TrainingTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_onnx(tmp_path / "a.onnx")
    sources = [{"kind": "folder", "path": "missing"}, {"kind": "folder", "path": str(tmp_path)}]
    expected = bring(path, task)(*task.train.inputs)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    module = brought.apply(build_spec(task).build(), task, file="a.onnx", sha256=sha256, sources=sources)
    assert torch.equal(module(*task.train.inputs), expected)
    with pytest.raises(DataError, match=r"no source of task .*\n.*missing"):
        brought.apply(build_spec(task).build(), task, file="a.onnx", sha256="0" * 64, sources=sources)
