"""The plugins in docs/extending.md work in an external plugin directory, without any other change."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from edgeproof.config import compose
from edgeproof.core import plugins
from edgeproof.core.errors import Unsupported
from edgeproof.models.training_task import TrainingTask
from tests.support import boards

ROOT = Path(__file__).parents[2]
PLUGIN = re.compile(r"<!-- plugin: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    plugin_files = PLUGIN.findall((ROOT / "docs" / "extending.md").read_text(encoding="utf-8"))
    assert len(plugin_files) == 5
    for name, content in plugin_files:
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
    runtime.export(linear, samples, "fp32", guide)
    with torch.no_grad():
        expected = linear(torch.from_numpy(samples[:1])).numpy()
    np.testing.assert_allclose(runtime.Session(guide, threads=1)(samples[:1]), expected, atol=1e-5)
    with pytest.raises(Unsupported, match="linear"):
        runtime.export(module, samples, "fp32", guide)
