"""Keras networks: sizes as in torch, storage by name, and export by the runtime whose converter supports Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from edgeproof.config import compose
from edgeproof.core import layouts, plugins
from edgeproof.core.errors import ArtifactError, ConfigError, Unsupported
from edgeproof.methods import train_keras
from edgeproof.models import frameworks, keras_models, model_files
from tests.support.project import ROOT
from tests.support.training_tasks import make_inputs, make_ports, make_training_task

SHAPE, CLASSES = (3, 8, 10), 5
OPTIONS = {"widths": [8, 12], "stem_stride": 2}
TOLERANCE = {"fp32": 1e-5, "fp16": 5e-3, "int8-dynamic": 0.08, "int8-static": 0.12}

SPEC = model_files.NetworkSpec("keras_resnet8", OPTIONS, *make_ports(SHAPE, CLASSES))
SAMPLES = np.random.default_rng(0).standard_normal((40, *SHAPE)).astype(np.float32)


def test_channels_are_moved_last() -> None:
    (moved,) = layouts.move_channels_last((SAMPLES,))
    assert moved.shape == (40, 8, 10, 3)
    assert moved.flags.c_contiguous
    np.testing.assert_array_equal(moved[7, 2, 3], SAMPLES[7, :, 2, 3])
    (flat,) = layouts.move_channels_last((SAMPLES[:, :, 0, 0],))
    np.testing.assert_array_equal(flat, SAMPLES[:, :, 0, 0])


def test_the_keras_network_has_the_parameters_and_macs_of_its_torch_counterpart() -> None:
    counterpart = model_files.NetworkSpec("resnet8", OPTIONS, *make_ports(SHAPE, CLASSES)).build()
    facts, expected = (
        frameworks.compute_facts(SPEC.build(), make_inputs(SHAPE)),
        frameworks.compute_facts(counterpart, make_inputs(SHAPE)),
    )
    assert (facts.parameters, facts.macs) == (expected.parameters, expected.macs)
    assert facts.weight_sparsity == 0.0
    assert facts.entropy_coded_bytes > 0


@pytest.fixture
def trained_network() -> Any:
    """A network whose weights and statistics were all changed by training."""
    method = plugins.load("methods", "train_keras")
    x = torch.from_numpy(SAMPLES)
    labels = torch.arange(len(x)) % CLASSES
    task = make_training_task(x, labels, CLASSES, views=2, view=lambda tensor, k: tensor.flip(3))
    options = yaml.safe_load((ROOT / "conf/methods/train_keras.yaml").read_text())["options"]
    return method.apply(SPEC.build(), task, **(options | {"epochs": 3, "batch_size": 8}))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_recipe_names_the_optimizer_of_keras(optimizer: str) -> None:
    options = yaml.safe_load((ROOT / "conf/methods/train_keras.yaml").read_text())["options"] | {"optimizer": optimizer}
    built = train_keras.build_optimizer(0.1, train_keras.Options(**options)).get_config()
    assert (built["name"].replace("_", ""), built["weight_decay"]) == (optimizer, 5e-4)
    if optimizer == "adamw":
        assert (built["beta_1"], built["beta_2"], built["epsilon"]) == (0.9, 0.999, 1e-8)
    else:
        assert (built["momentum"], built["nesterov"]) == (0.9, True)


def test_a_loaded_network_predicts_the_same(trained_network: Any, tmp_path: Path) -> None:
    model_files.save(trained_network, SPEC, {"name": "m"}, tmp_path / "m")
    again, spec, meta = model_files.load(tmp_path / "m")
    assert (spec.name, meta["name"]) == ("keras_resnet8", "m")
    np.testing.assert_allclose(
        frameworks.predict(again, (SAMPLES,)), frameworks.predict(trained_network, (SAMPLES,)), rtol=1e-5, atol=1e-6
    )
    untrained = keras_models.read_weights(SPEC.build())
    moved = keras_models.read_weights(trained_network)
    assert moved.keys() == untrained.keys()
    assert all(not np.array_equal(moved[path], untrained[path]) for path in moved)
    labels = torch.from_numpy(frameworks.predict(trained_network, (SAMPLES,))[0].argmax(1))
    task = make_training_task(torch.from_numpy(SAMPLES), labels, CLASSES)
    assert frameworks.measure_quality(again, task) == 1.0


def test_weights_of_another_size_are_refused(trained_network: Any, tmp_path: Path) -> None:
    wider = model_files.NetworkSpec("keras_resnet8", {**OPTIONS, "widths": [8, 16]}, *make_ports(SHAPE, CLASSES))
    model_files.save(trained_network, wider, {}, tmp_path / "m")
    with pytest.raises(ArtifactError, match="does not fit its network"):
        model_files.load(tmp_path / "m")


def test_tflite_exports_a_keras_network_and_other_runtimes_refuse_it(trained_network: Any, tmp_path: Path) -> None:
    tflite = plugins.load("runtimes", "tflite")
    (expected,) = frameworks.predict(trained_network, (SAMPLES,))
    for scheme, tolerance in TOLERANCE.items():
        out = tmp_path / scheme
        out.mkdir()
        keras_models.export(tflite, trained_network, (SAMPLES,), scheme, out)
        session = tflite.Session(out, threads=1)
        (inputs,) = layouts.move_channels_last((SAMPLES,))
        outputs = np.concatenate([session(inputs[i : i + 1])[0].copy() for i in range(len(inputs))])
        assert np.abs(outputs - expected).max() <= tolerance * np.abs(expected).max(), scheme
    for name in ("onnx", "openvino", "null"):
        with pytest.raises(Unsupported, match="the network was trained in Keras"):
            keras_models.export(plugins.load("runtimes", name), trained_network, (SAMPLES,), "fp32", tmp_path)


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (
            "{method: train, network: keras_resnet8}",
            "'train' works on networks of torch, and 'keras_resnet8' is one of",
        ),
        (
            "{method: train_keras, network: resnet8}",
            "'train_keras' works on networks of keras, and 'resnet8' is one of",
        ),
        ("{method: prune_channels, parent: in_keras}", "'prune_channels' works on networks of torch"),
        ("{method: distill, network: resnet8, teacher: in_keras}", "'distill' works on networks of torch"),
    ],
)
def test_a_method_of_another_framework_is_refused(monkeypatch: pytest.MonkeyPatch, model: str, match: str) -> None:
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(ROOT)
    in_keras = "+models.in_keras={method: train_keras, network: keras_resnet8}"
    with pytest.raises(ConfigError, match=match):
        compose.compose("digits", [in_keras, f"+models.wrong={model}"])


def test_a_study_with_a_keras_model_lists_the_version_of_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(ROOT)
    params = compose.compose("digits", ["+models.in_keras={method: train_keras, network: keras_resnet8}"])
    assert params.train["in_keras"].packages.keys() >= {"keras", "tensorflow"}
    assert params.export["in_keras_tflite"].packages.keys() >= {"keras", "tensorflow", "ai-edge-litert"}
    assert "tensorflow" not in params.export["teacher_tflite"].packages
