"""The plugins in docs/extending.md work in an external plugin directory, without any other change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from edgeproof.artifacts import export
from edgeproof.config import compose
from edgeproof.core import plugins
from edgeproof.core.errors import Unsupported
from edgeproof.data import preparation
from edgeproof.data.task_checks import check_inputs, check_targets
from edgeproof.data.task_quality import load_task_quality
from edgeproof.models import build
from edgeproof.models.training_task import TrainingTask
from tests.support import boards
from tests.support.guide_files import read_commands, read_plugins
from tests.support.network_kinds import find_kind, make_random_task
from tests.support.project import ROOT
from tests.support.tiny_networks import prune_half_the_channels


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    plugin_files = read_plugins()
    assert len(plugin_files) == 10
    for name, content in plugin_files.items():
        path = tmp_path / "plugins" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    monkeypatch.setenv("EDGEPROOF_PLUGINS", str(tmp_path / "plugins"))
    monkeypatch.chdir(ROOT)
    return tmp_path


def test_a_study_can_use_the_method_and_the_runtime_of_the_guide(guide: Path) -> None:
    noisy = "+models.student_noisy={method: noise, parent: student, options: {deviation: 0.2}}"
    params = compose.compose(
        "digits", [noisy, "bench.runtimes=[onnx,numpy_linear]", "+models.student_slim_w4.runtimes=[]"]
    )
    assert params.quantize["student_noisy"].options["deviation"] == 0.2
    assert params.quantize["student_noisy"].options["momentum"] == 0.9
    assert params.export["student_noisy_numpy_linear"].schemes == ["fp32"]
    assert "local_numpy_linear" in params.bench


def test_the_transport_of_the_guide_runs_commands_through_another_program(
    guide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards.write_program(guide / "bin" / "docker", '#!/bin/sh\n[ "$3" = box ] && shift 3 && exec "$@"\n', monkeypatch)
    device = plugins.load("transports", "docker").Transport(guide / "contract", "box")
    device._directory = str(guide / "inside")
    (guide / "file").write_text("content")
    device.push(guide / "file", "store/file")
    assert device.run(["cat", "store/file"], 60) == (0, "content")
    device.pull("store", guide / "back")
    assert (guide / "back" / "file").read_text() == "content"


def test_the_method_of_the_guide_adds_reproducible_noise_to_weights(
    guide: Path, module: torch.nn.Module, task: TrainingTask
) -> None:
    method = plugins.load("methods", "noise")
    defaults = yaml.safe_load((guide / "plugins/conf/methods/noise.yaml").read_text())["options"]
    before = module.stem[0].weight.detach().clone()  # type: ignore[index]
    after = method.apply(module, task, **(defaults | {"epochs": 0})).stem[0].weight
    deviation = float((after - before).std() / before.std())
    assert 0.05 < deviation < 0.2


def test_the_runtime_of_the_guide_runs_linear_networks_and_no_others(
    guide: Path, module: torch.nn.Module, samples: np.ndarray
) -> None:
    runtime = plugins.load("runtimes", "numpy_linear")
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    runtime.export(linear, (samples,), "fp32", guide)
    with torch.no_grad():
        expected = linear(torch.from_numpy(samples[:1])).numpy()
    (output,) = runtime.Session(guide, threads=1)(samples[:1])
    np.testing.assert_allclose(output, expected, atol=1e-5)
    with pytest.raises(Unsupported, match="linear"):
        runtime.export(module, (samples,), "fp32", guide)


@pytest.fixture
def data_of_the_guide(guide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the guide's command that makes the data of its task, in a home directory of its own."""
    command = read_commands()["data"]
    monkeypatch.setenv("HOME", str(guide / "home"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run(["bash", "-euc", command], capture_output=True, text=True, check=True)
    definition = yaml.safe_load((guide / "plugins/conf/tasks/friedman.yaml").read_text())
    assert done.stdout.split()[0] == definition["files"]["friedman.csv"]


@pytest.mark.usefixtures("data_of_the_guide", "restore_torch_settings")
def test_the_study_of_the_guide_reaches_its_target_in_a_runtime(guide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = compose.compose(overrides=["study=friedman"])
    assert (params.task.name, params.task.metric) == ("friedman", "rmse")
    assert set(params.bench) == {"local_onnx"}
    monkeypatch.chdir(guide)
    (guide / "requirements.lock").symlink_to(ROOT / "requirements.lock")
    preparation.prepare(params.task)
    (features,), values = preparation.load_split("friedman", "test")
    parameters = {}
    for model in ("teacher", "slim"):
        build.build(model, params)
        parameters[model] = json.loads(Path("models", model, "meta.json").read_text())["parameters"]
        export.export(params.export[f"{model}_onnx"], "friedman")
        session = plugins.load("runtimes", "onnx").Session(Path("artifacts/onnx", model, "fp32"), threads=1)
        outputs = np.concatenate([session(features[i : i + 1])[0].copy() for i in range(len(features))])
        rmse = float(np.sqrt(np.mean((outputs - values).astype(np.float64) ** 2)))
        assert 1.0 < rmse < params.task.quality_target, model
        assert load_task_quality("friedman").measure((features,), (outputs,), values) == pytest.approx(rmse)
    assert parameters["slim"] < 0.5 * parameters["teacher"]


def test_the_network_of_the_guide_fits_every_size_of_its_kind_and_can_be_pruned(guide: Path) -> None:
    options = yaml.safe_load((guide / "plugins/conf/networks/dense.yaml").read_text())["options"]
    for inputs, outputs in find_kind("dense").sizes:
        module = plugins.load("networks", "dense").build(inputs, outputs, **options).eval()
        assert module(torch.zeros(3, *inputs[0].shape)).shape == (3, *outputs[0].shape)
    inputs, outputs = find_kind("dense").tiny
    module = plugins.load("networks", "dense").build(inputs, outputs, **options)
    prune_half_the_channels(module, make_random_task("dense"))
    assert module(torch.zeros(3, *inputs[0].shape)).shape == (3, *outputs[0].shape)


def test_the_fixture_of_the_guides_task_fits_its_declaration(guide: Path) -> None:
    task = plugins.load("tasks", "friedman")
    files = {name: guide / name for name in task.fixture()}
    for name, content in task.fixture().items():
        files[name].write_bytes(content)
    for x, y in task.data(files, validation_samples=10, seed=0).values():
        check_inputs("friedman", task.INPUTS, (task.preprocess(x),))
        check_targets("friedman", task, y, len(x))
