"""gru and transformer against the layers of torch with the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.models import frameworks
from edgeproof.models.layer_outputs import record_outputs
from edgeproof.networks import gru, transformer
from tests.support.training_tasks import make_inputs, make_ports

OPTIONS: dict[str, Any] = {"patch": (4, 4), "width": 12, "depth": 2, "heads": 3, "expansion": 2}


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- GRU -----------------------------------------------------------------------------------------------------------


def build_torch_gru(module: nn.Module, features: int, hidden: int) -> nn.GRU:
    """Build a torch.nn.GRU with the weights of a module. It stacks the reset, update and new gates in this order."""
    reference = nn.GRU(features, hidden, batch_first=True)
    with torch.no_grad():
        for layer, suffix in ((module.inputs, "ih_l0"), (module.states, "hh_l0")):
            for kind in ("weight", "bias"):
                stacked = torch.cat([getattr(gate, kind) for gate in (layer.reset, layer.update, layer.new)])
                getattr(reference, f"{kind}_{suffix}").copy_(stacked)
    return reference


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (3, 5, 4), (1, 1, 6)])
def test_the_network_equals_the_gru_of_torch_over_rows(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    module = gru.build(*make_ports(shape, 7), hidden=16)
    channels, height, width = shape
    images = torch.randn(4, *shape)
    rows = torch.stack([images[:, :, row].reshape(4, channels * width) for row in range(height)], dim=1)
    _, last = build_torch_gru(module, channels * width, 16)(rows)
    torch.testing.assert_close(module(images), module.classifier(last[0]), atol=1e-5, rtol=1e-4)


def test_a_gru_has_the_parameters_and_initial_range_of_torch() -> None:
    module = gru.build(*make_ports((1, 28, 28), 10), hidden=64)
    assert count_parameters(module) == count_parameters(nn.GRU(28, 64)) + 64 * 10 + 10 == 18_698
    for part in (module.inputs, module.states):
        values = torch.cat([p.detach().flatten() for p in part.parameters()])
        assert float(values.abs().max()) <= 64**-0.5
        assert float(values.std()) == pytest.approx(64**-0.5 / 3**0.5, rel=0.05)
    assert frameworks.compute_facts(module, make_inputs((1, 28, 28))).macs == 28 * 3 * (28 * 64 + 64 * 64) + 64 * 10


@pytest.mark.parametrize("options", [{"hidden": 0}, {}, {"hidden": 4, "layers": 2}])
def test_options_that_build_no_gru_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        gru.Options.model_validate(options)


# --- transformer ---------------------------------------------------------------------------------------------------


def test_a_block_equals_the_encoder_layer_of_torch() -> None:
    torch.manual_seed(0)
    block = transformer.Block(12, 3, 2)
    reference = nn.TransformerEncoderLayer(
        12, 3, dim_feedforward=24, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    attention, perceptron = block.attention, block.perceptron
    with torch.no_grad():
        for layer in (attention.query, attention.key, attention.value, block.norm1, block.norm2):
            layer.weight.add_(0.1 * torch.randn_like(layer.weight))
            layer.bias.add_(0.1 * torch.randn_like(layer.bias))
        for kind in ("weight", "bias"):
            stacked = torch.cat([getattr(layer, kind) for layer in (attention.query, attention.key, attention.value)])
            getattr(reference.self_attn, f"in_proj_{kind}").copy_(stacked)
            for ours, theirs in (
                (attention.output, reference.self_attn.out_proj),
                (block.norm1, reference.norm1),
                (block.norm2, reference.norm2),
                (perceptron.widen, reference.linear1),
                (perceptron.narrow, reference.linear2),
            ):
                getattr(theirs, kind).copy_(getattr(ours, kind))
    tokens = torch.randn(2, 5, 12)
    torch.testing.assert_close(block(tokens), reference(tokens), atol=1e-5, rtol=1e-4)


def test_attention_and_hidden_states_can_be_recorded_by_name() -> None:
    module = transformer.build(*make_ports((1, 8, 12), 5), **OPTIONS).eval()
    names = ["blocks.0", "blocks.1", "blocks.0.attention.probabilities", "blocks.1.attention.probabilities"]
    with record_outputs(module, names) as recorded:
        module(torch.rand(2, 1, 8, 12))
    tokens = 2 * 3
    for number in range(2):
        assert recorded[f"blocks.{number}"].shape == (2, tokens, 12)
        attention = recorded[f"blocks.{number}.attention.probabilities"]
        assert attention.shape == (2, 3, tokens, tokens)
        assert bool((attention >= 0).all())
        torch.testing.assert_close(attention.sum(-1), torch.ones(2, 3, tokens))


def test_only_positions_distinguish_tokens() -> None:
    torch.manual_seed(0)
    module = transformer.build(*make_ports((1, 4, 8), 5), **OPTIONS).eval()
    left_right = torch.randn(1, 1, 4, 8)
    right_left = left_right.roll(4, dims=3)
    assert not torch.allclose(module(left_right), module(right_left), atol=1e-4)
    nn.init.zeros_(module.embedding.positions)  # type: ignore[arg-type,union-attr]
    torch.testing.assert_close(module(left_right), module(right_left), atol=1e-5, rtol=1e-4)


def test_a_token_is_a_linear_map_of_its_row_plus_its_position() -> None:
    embedding = transformer.build(*make_ports((1, 8, 8), 5), **OPTIONS | {"patch": (1, 8)}).embedding
    images = torch.randn(2, 1, 8, 8)
    weight, bias = embedding.patches.weight.reshape(12, 8), embedding.patches.bias
    expected = images[:, 0] @ weight.T + bias + embedding.positions.reshape(8, 12)
    torch.testing.assert_close(embedding(images), expected, atol=1e-5, rtol=1e-4)


def test_parameters_and_macs_of_a_transformer_equal_counts_by_hand() -> None:
    module = transformer.build(*make_ports((1, 28, 28), 10), patch=(4, 4), width=32, depth=2, heads=2, expansion=3)
    tokens, width, inside = 49, 32, 96
    block = 4 * (width * width + width) + width * inside + inside + inside * width + width + 4 * width
    embedding = 16 * width + width + tokens * width
    assert count_parameters(module) == embedding + 2 * block + 2 * width + width * 10 + 10
    # Projections and perceptron of each token, and both products with the attention between all tokens.
    multiplied = tokens * (4 * width * width + 2 * width * inside) + 2 * tokens * tokens * width
    assert (
        frameworks.compute_facts(module, make_inputs((1, 28, 28))).macs
        == tokens * 16 * width + 2 * multiplied + width * 10
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"patch": (3, 4)}, "3×4 do not tile an image of 8×8"), ({"patch": (4, 16)}, "tile"), ({"heads": 5}, "heads 5")],
)
def test_incompatible_shapes_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        transformer.build(*make_ports((1, 8, 8), 5), **OPTIONS | changed)


@pytest.mark.parametrize("changed", [{"patch": [4]}, {"width": 0}, {"depth": 0}, {"heads": 0}, {"dropout": 0.1}])
def test_options_that_build_no_transformer_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        transformer.Options.model_validate(OPTIONS | changed)
