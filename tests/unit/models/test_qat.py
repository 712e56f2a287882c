"""Fake quantization: its formula in plain numpy, ranges, folding, storage, and export for each runtime."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from edgeproof.config import compose
from edgeproof.config.params import Params
from edgeproof.core.errors import ArtifactError, ConfigError, Unsupported
from edgeproof.methods import quantize_aware
from edgeproof.models import build, frameworks, losses, model_files, qat, training
from edgeproof.models.training_task import TrainingTask, compute_outputs, measure_quality, split_inputs
from tests.support import tiny_task
from tests.support.method_inputs import RECIPE
from tests.support.training_tasks import make_inputs, make_ports, make_training_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

SHAPE, CLASSES = (1, 6, 6), 3
OPTIONS = RECIPE | {"runtime": "onnx", "temperature": 4.0, "hard_weight": 0.3}
NETWORK = """
from torch import nn
def build(inputs, outputs, channels):
    return nn.Sequential(
        nn.Conv2d(inputs[0].shape[0], channels, 3, bias=False), nn.BatchNorm2d(channels, eps=0.01), nn.ReLU(),
        nn.Conv2d(channels, channels, 3, groups=channels), nn.BatchNorm2d(channels, eps=0.01), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs[0].size),
    )
"""


@pytest.fixture
def spec(plugin_root: Path) -> model_files.NetworkSpec:
    (plugin_root / "networks" / "separable.py").write_text(NETWORK)
    return model_files.NetworkSpec("separable", {"channels": 4}, *make_ports(SHAPE, CLASSES))


@pytest.fixture
def network(spec: model_files.NetworkSpec) -> nn.Module:
    training.make_deterministic(0, 1)
    built = spec.build()
    for layer in built.modules():
        if isinstance(layer, nn.BatchNorm2d):  # statistics that folding must get right
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, -1.5, 1.5)
    return built.eval()


def make_task(seed: int = 0) -> TrainingTask:
    x = torch.randn(48, *SHAPE, generator=torch.Generator().manual_seed(5))
    labels = (x.sum((1, 2, 3)) / 4).clamp(-1, 1).round().long() + 1
    return make_training_task(x, labels, CLASSES, views=2, view=lambda x, k: x.flip(-1) if k else x, seed=seed)


def calibrate(network: nn.Module, runtime: str = "onnx") -> qat.FakeQuantizedModule:
    prepared = qat.prepare(network, runtime, make_inputs(SHAPE))
    prepared.calibrate(split_inputs(make_task().train.inputs, 16))
    return prepared


def find_fake_quantizations(prepared: qat.FakeQuantizedModule) -> dict[str, Any]:
    return {name: module for name, module in prepared.graph.named_modules() if hasattr(module, "fake_quant_enabled")}


def pair_weights_with_quantizations(prepared: qat.FakeQuantizedModule) -> list[tuple[nn.Parameter, Any]]:
    nodes = [n for n in prepared.graph.graph.nodes if n.op == "call_module" and n.args[0].op == "get_attr"]
    graph = prepared.graph
    return [(graph.get_parameter(n.args[0].target), graph.get_submodule(n.target)) for n in nodes]


# --- the arithmetic ------------------------------------------------------------------------------------------------


def quantize_by_hand(x: np.ndarray, scale: np.ndarray, zero: np.ndarray, least: int, most: int) -> np.ndarray:
    return scale * (np.clip(np.round(x / scale) + zero, least, most) - zero)


@pytest.mark.parametrize("runtime", sorted(qat.ACTIVATION_DTYPES))
def test_weights_have_127_levels_on_each_side_in_every_output_channel(network: nn.Module, runtime: str) -> None:
    prepared = calibrate(network, runtime)
    pairs = pair_weights_with_quantizations(prepared)
    assert len(pairs) == 3
    for weight, quantize in pairs:
        rows = weight.detach().double().flatten(1).numpy()
        scale = np.abs(rows).max(1, keepdims=True) / 127
        rounded = quantize(weight).detach().flatten(1).numpy()
        np.testing.assert_allclose(
            rounded, quantize_by_hand(rows, scale, np.zeros_like(scale), -127, 127), rtol=1e-5, atol=1e-7
        )


@functools.cache
def build_input_quantization(runtime: str) -> nn.Module:
    """Return the fake quantization of a network's input before any calibration."""
    prepared = qat.prepare(nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES)), runtime, make_inputs(SHAPE)).train()
    return prepared.graph.get_submodule("activation_post_process_0")


@given(st.floats(-20, 5), st.floats(0.1, 20), st.sampled_from([("onnx", 0, 255), ("tflite", -128, 127)]))
def test_activations_have_256_levels_between_the_observed_extremes(
    low: float, width: float, target: tuple[str, int, int]
) -> None:
    runtime, least, most = target
    x = torch.linspace(low, low + width, 200)
    below, above = min(low, 0.0), max(low + width, 0.0)  # zero is always a level
    scale = np.float64(above - below) / 255
    seen = copy.deepcopy(build_input_quantization(runtime))(x).double().numpy()
    expected = quantize_by_hand(x.double().numpy(), scale, np.round(least - below / scale), least, most)
    differences = np.abs(seen - expected) / scale
    assert differences.max() <= 1.001  # in float32, a value between two levels may be rounded to the other one
    assert (differences < 1e-3).mean() > 0.95


@pytest.mark.parametrize("runtime", sorted(qat.ACTIVATION_DTYPES))
def test_a_prepared_network_without_rounding_equals_the_network(network: nn.Module, runtime: str) -> None:
    prepared = calibrate(network, runtime)
    for quantize in find_fake_quantizations(prepared).values():
        quantize.disable_fake_quant()
    x = make_task().train.inputs[0]
    with torch.no_grad():
        torch.testing.assert_close(prepared(x), network(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("clip", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6()])
def test_nothing_is_rounded_between_a_layer_and_its_clipping(clip: nn.Module) -> None:
    layers = [nn.Conv2d(1, 2, 3), clip, nn.Flatten(), nn.Linear(32, 8), clip, nn.Linear(8, CLASSES)]
    prepared = qat.prepare(nn.Sequential(*layers), "tflite", make_inputs(SHAPE))
    clipping = [node for node in prepared.graph.graph.nodes if node.target in qat.CLIPPING_OPS]
    assert len(clipping) == 2
    for node in clipping:
        assert node.args[0].op == "call_function"
        assert [user.op for user in node.users] == ["call_module"]


def test_preparing_does_not_change_the_network(network: nn.Module) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    calibrate(network)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_ranges_change_in_training_and_not_in_evaluation(network: nn.Module) -> None:
    prepared = calibrate(network)
    x = 10 * make_task().train.inputs[0]

    def ranges() -> list[float]:
        return [float(f.scale.sum()) for f in find_fake_quantizations(prepared).values()]

    ranges_before = ranges()
    prepared.eval()(x)
    assert ranges() == ranges_before
    prepared.train()(x)
    assert ranges() != ranges_before


def test_a_channel_of_zeros_and_a_large_bias_fit_into_32_bits(network: nn.Module) -> None:
    with torch.no_grad():
        network[0].weight[1] = 0
        network[1].bias[1] = 100
    prepared = calibrate(network)
    scales = {name: f.scale for name, f in find_fake_quantizations(prepared).items()}
    assert all(float(scale.min()) >= qat.MIN_SCALE for scale in scales.values())
    input_scale, weight_scale = (
        scales["activation_post_process_0"],
        pair_weights_with_quantizations(prepared)[0][1].scale,
    )
    assert 100 / float(input_scale) / float(weight_scale[1]) < 2**31
    assert prepared(make_task().train.inputs[0]).isfinite().all()


# --- rounded weights -----------------------------------------------------------------------------------------------


def test_rounded_weights_are_multiples_of_their_scale_and_change_no_output(network: nn.Module) -> None:
    prepared = calibrate(network)
    x = make_task().train.inputs[0]
    before = prepared(x)
    prepared.round_weights()
    assert torch.equal(prepared(x), before)
    for weight, quantize in pair_weights_with_quantizations(prepared):
        steps = weight.detach().flatten(1).double() / quantize.scale.double()[:, None]
        torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
        assert not (weight.detach() == 0).logical_and(weight.detach().signbit()).any()


# --- on disk -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", sorted(qat.ACTIVATION_DTYPES))
def test_a_loaded_model_has_the_same_bits_and_outputs(
    network: nn.Module, spec: model_files.NetworkSpec, tmp_path: Path, runtime: str
) -> None:
    trained = quantize_aware.apply(network, make_task(), **OPTIONS | {"runtime": runtime})
    model_files.save(trained, spec, {"packages": {}}, tmp_path / "m")
    loaded, _, meta = model_files.load(tmp_path / "m")
    assert isinstance(loaded, qat.FakeQuantizedModule)
    assert (loaded.runtime, meta["prepared"]["runtime"]) == (runtime, runtime)
    before, after = trained.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(before[key].numpy().tobytes() == after[key].numpy().tobytes() for key in before)
    x = make_task().train.inputs[0]
    assert torch.equal(trained(x), loaded(x))
    task = make_task()
    assert measure_quality(trained, task, task.train) == measure_quality(loaded, task, task.train)


def test_facts_are_those_of_the_original_network(
    network: nn.Module, spec: model_files.NetworkSpec, tmp_path: Path
) -> None:
    trained = quantize_aware.apply(network, make_task(), **OPTIONS)
    meta = model_files.save(trained, spec, {}, tmp_path / "m")
    plain = frameworks.compute_facts(network, make_inputs(SHAPE))
    assert (meta["parameters"], meta["macs"]) == (plain.parameters, plain.macs)
    assert meta["entropy_coded_bytes"] < plain.entropy_coded_bytes


def test_a_pruned_network_keeps_its_sizes_when_stored_and_loaded(
    spec: model_files.NetworkSpec, network: nn.Module, tmp_path: Path
) -> None:
    small = model_files.NetworkSpec("separable", {"channels": 2}, *make_ports(SHAPE, CLASSES)).build()
    trained = quantize_aware.apply(small, make_task(), **OPTIONS)
    meta = model_files.save(trained, spec, {}, tmp_path / "m")  # the specification still says four channels
    loaded, _, _ = model_files.load(tmp_path / "m")
    x = make_task().train.inputs[0]
    assert torch.equal(trained(x), loaded(x))
    assert meta["parameters"] == sum(p.numel() for p in small.parameters())


def test_a_state_that_does_not_fit_is_refused(
    network: nn.Module, spec: model_files.NetworkSpec, tmp_path: Path
) -> None:
    trained = quantize_aware.apply(network, make_task(), **OPTIONS)
    trained.graph.register_buffer("surplus", torch.zeros(1))
    model_files.save(trained, spec, {}, tmp_path / "m")
    with pytest.raises(ArtifactError, match="does not fit network 'separable'"):
        model_files.load(tmp_path / "m")


def test_loading_with_another_version_of_torchao_is_refused(
    network: nn.Module, spec: model_files.NetworkSpec, tmp_path: Path
) -> None:
    model_files.save(calibrate(network), spec, {"packages": {"torchao": "0.0.1"}}, tmp_path / "m")
    with pytest.raises(ConfigError, match=r"torchao is .*composed for 0\.0\.1"):
        model_files.load(tmp_path / "m")


# --- export --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", sorted(qat.ACTIVATION_DTYPES))
def test_integer_operations_give_the_same_outputs_as_fake_quantization(network: nn.Module, runtime: str) -> None:
    prepared = calibrate(network, runtime)
    lowered = qat.select_for_export(prepared, runtime, qat.SCHEME)
    with torch.no_grad():
        for x in make_task().train.inputs[0].split(1):
            assert torch.equal(lowered(x), prepared(x))
    assert len(find_fake_quantizations(prepared)) > 0


def test_another_runtime_or_scheme_is_unsupported_with_the_reason(network: nn.Module) -> None:
    prepared = calibrate(network, "onnx")
    with pytest.raises(Unsupported, match="trained for onnx"):
        qat.select_for_export(prepared, "tflite", qat.SCHEME)
    for scheme in ("fp32", "int8-static"):
        with pytest.raises(Unsupported, match="int8-qat is its only scheme"):
            qat.select_for_export(prepared, "onnx", scheme)
    with pytest.raises(Unsupported, match="method quantize_aware for onnx"):
        qat.select_for_export(network, "onnx", qat.SCHEME)
    assert qat.select_for_export(network, "onnx", "fp32") is network
    assert qat.select_for_export(network, "ncnn", qat.SCHEME) is network  # ncnn's own export() says why it has none


# --- the method ----------------------------------------------------------------------------------------------------


def test_training_changes_all_parameters_and_raises_the_likelihood(
    network: nn.Module,
) -> None:
    task = make_task()

    def likelihood(module: nn.Module) -> float:
        answers = compute_outputs(module, (task.train.inputs[0],))
        return -float(nn.functional.cross_entropy(answers, task.train.targets))

    still = quantize_aware.apply(network, task, **OPTIONS | {"epochs": 0})
    trained = quantize_aware.apply(network, task, **OPTIONS | {"epochs": 8, "weight_decay": 0.0})
    for before, after in zip(still.parameters(), trained.parameters(), strict=True):
        assert not torch.equal(before, after)
    assert likelihood(trained) > likelihood(still)


def test_weights_that_were_zero_stay_zero(network: nn.Module) -> None:
    with torch.no_grad():
        network[0].weight[:, :, 0] = 0
        network[8].weight[1] = 0
    trained = quantize_aware.apply(network, make_task(), **OPTIONS | {"epochs": 3})
    first, _, last = (weight for weight, _ in pair_weights_with_quantizations(trained))
    assert not first[:, :, 0].any()
    assert not last[1].any()
    assert first[:, :, 1:].any()


def test_the_loss_with_a_teacher_is_that_of_hinton(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def record_loss(student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, **chosen: Any) -> torch.Tensor:
        seen.append((teacher, labels))
        assert chosen == {"temperature": 4.0, "hard_weight": 0.3}
        return hinton_loss(student, teacher, labels, **chosen)

    hinton_loss = losses.hinton_loss
    monkeypatch.setattr(losses, "hinton_loss", record_loss)
    teacher, task = copy.deepcopy(network), make_task()
    alone = quantize_aware.apply(network, task, **OPTIONS)
    student = quantize_aware.apply(network, task, teachers=[teacher], **OPTIONS)
    assert any(not torch.equal(a, b) for a, b in zip(alone.parameters(), student.parameters(), strict=True))
    known = torch.cat([compute_outputs(teacher, task.view(task.train.inputs, k)) for k in range(task.views)])
    for answers, _ in seen:
        distances = torch.cdist(answers.double(), known.double()).amin(1)
        assert distances.max() < 1e-6


def test_a_teacher_may_have_fake_quantization(network: nn.Module) -> None:
    teacher = quantize_aware.apply(network, make_task(), **OPTIONS)
    student = quantize_aware.apply(network, make_task(), teachers=[teacher], **OPTIONS)
    assert compute_outputs(student, (make_task().train.inputs[0],)).isfinite().all()


@pytest.mark.parametrize("wrong", [{"runtime": "null"}, {"temperature": 0}, {"hard_weight": 1.1}])
def test_an_option_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        quantize_aware.Options.model_validate(OPTIONS | wrong)


# --- a quantized model is no parent --------------------------------------------------------------------------------


def test_a_study_with_a_quantized_parent_is_refused(project_root: Path) -> None:
    late = [
        "models.student_slim_w4.method=quantize_aware",
        "models.student_slim_w4.options={epochs: 1}",
        "+models.late={method: prune_weights, parent: student_slim_w4, options: {epochs: 1}}",
    ]
    with pytest.raises(
        ConfigError, match=r"late can't start from 'student_slim_w4'.*'quantize_aware' must be the last"
    ):
        compose.compose("digits", late)


def test_a_stage_refuses_a_quantized_parent(
    network: nn.Module,
    spec: model_files.NetworkSpec,
    digits_study: Params,
    plugin_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_task.write_plugins(plugin_root)
    tiny_task.write_data(Path("data"))
    model_files.save(calibrate(network), spec, {}, Path("models/student_slim"))
    content = digits_study.model_dump(by_alias=True)
    content["task"]["name"] = "tiny"
    content["quantize"]["student_slim_w4"] |= {"packages": {}}
    params = Params.model_validate(content)
    with pytest.raises(ConfigError, match=r"'student_slim' can't be a parent.*for onnx.*last method"):
        build.build("student_slim_w4", params)
