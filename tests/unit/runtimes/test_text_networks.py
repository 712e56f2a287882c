"""Networks that read word pieces, in every runtime: their tables are in integers too, and padding changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from edgeproof.core import plugins
from edgeproof.core.directories import write_meta
from edgeproof.core.ports import Port
from edgeproof.models import frameworks
from edgeproof.models.training import make_deterministic
from edgeproof.networks import bert
from tests.support.tiny_networks import CONF

INPUTS = (Port("tokens", (12,), "int64"),)
OUTPUTS = (Port("logits", (3,)),)
VOCABULARY, WIDTH = 6000, 32
# Root of the mean squared error, as a share of that of the outputs. Static ranges clip the outputs of random weights.
SCHEMES = {"fp32": 1e-4, "int8-weights": 0.05, "int8-dynamic": 0.2, "int8-static": 0.8}
SUPPORTED = [
    (runtime, scheme)
    for runtime in ("onnx", "openvino", "tflite")
    for scheme in SCHEMES
    if scheme in yaml.safe_load((CONF / "runtimes" / f"{runtime}.yaml").read_text(encoding="utf-8"))["schemes"]
]

pytestmark = pytest.mark.usefixtures("restore_torch_settings")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    make_deterministic(0, 1)
    module = bert.build(INPUTS, OUTPUTS, vocabulary=VOCABULARY, width=WIDTH, depth=2, heads=4, inner=64)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.startswith(("embedding.words", "classifier")):
                parameter.normal_(0, 1)
    return module.eval()


def draw_texts(count: int) -> np.ndarray:
    """Return texts of 2 to 12 tokens, with padding."""
    random = np.random.default_rng(0)
    tokens = random.integers(1, VOCABULARY, (count, 12))
    return np.where(np.arange(12) < random.integers(2, 13, (count, 1)), tokens, 0)


@pytest.mark.parametrize(("runtime", "scheme"), SUPPORTED)
def test_a_runtime_computes_texts_like_torch_from_a_file_of_the_expected_size(
    runtime: str, scheme: str, network: nn.Module, tmp_path: Path
) -> None:
    texts = draw_texts(24)
    plugins.load("runtimes", runtime).export(network, (texts,), scheme, tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    ports = {"inputs": INPUTS, "outputs": OUTPUTS}
    write_meta(tmp_path, {key: [port.to_json() for port in ports[key]] for key in ports})
    session = plugins.load("runtimes", runtime).Session(tmp_path, threads=1)
    outputs = np.concatenate([session(texts[i : i + 1])[0].copy() for i in range(len(texts))])
    (expected,) = frameworks.predict(network, (texts,))
    assert np.square(outputs - expected).mean() <= SCHEMES[scheme] ** 2 * np.square(expected).mean()
    table = VOCABULARY * WIDTH
    assert size > 4 * table if scheme == "fp32" else size < 3 * table


@torch.no_grad()
def test_no_token_attends_to_padding(network: nn.Module) -> None:
    recorded: list[torch.Tensor] = []
    handle = network.blocks[0].attention.probabilities.register_forward_hook(lambda *parts: recorded.append(parts[2]))
    texts = torch.from_numpy(draw_texts(50))
    network(texts)
    handle.remove()
    is_padding = (texts == 0)[:, None, None, :].expand_as(recorded[0])
    assert recorded[0][is_padding].max() < 1e-9
    torch.testing.assert_close(recorded[0].sum(-1), torch.ones(50, 4, 12))


@torch.no_grad()
def test_a_text_without_tokens_has_finite_outputs(network: nn.Module) -> None:
    assert network(torch.zeros(1, 12, dtype=torch.int64)).isfinite().all()
