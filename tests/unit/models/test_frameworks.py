"""Facts of models against counts by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeproof.models import frameworks
from edgeproof.models.entropy_coding import HEADER_BYTES
from edgeproof.networks import resnet8
from tests.support.training_tasks import make_inputs, make_ports

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

SHAPE = (1, 8, 8)


@pytest.fixture
def module() -> nn.Module:
    return resnet8.build(*make_ports(SHAPE, 10), widths=[8, 16], stem_stride=1)


def test_facts_of_a_convolution_equal_counts_by_hand() -> None:
    # 3 → 8 channels, 3×3, stride 2, padding 1 on 10×10: the output is 5×5.
    facts = frameworks.compute_facts(nn.Conv2d(3, 8, 3, stride=2, padding=1), make_inputs((3, 10, 10)))
    assert facts.parameters == 3 * 8 * 9 + 8
    assert facts.macs == 5 * 5 * 8 * 3 * 9


def test_macs_of_a_grouped_convolution_stay_within_its_groups() -> None:
    facts = frameworks.compute_facts(nn.Conv2d(4, 8, 3, groups=4, bias=False), make_inputs((4, 6, 6)))
    assert facts.parameters == 8 * 1 * 9
    assert facts.macs == 4 * 4 * 8 * 1 * 9


def test_facts_of_a_linear_layer_equal_counts_by_hand() -> None:
    facts = frameworks.compute_facts(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), make_inputs((3, 2, 2)))
    assert facts.parameters == 12 * 5 + 5
    assert facts.macs == 12 * 5


def test_macs_of_a_network_add_up_over_its_layers(module: nn.Module) -> None:
    # Stem and first block at 8×8, second block at 4×4 with its shortcut, linear layer.
    by_hand = 64 * 9 * (1 * 8 + 8 * 8 + 8 * 8) + 16 * (9 * (8 * 16 + 16 * 16) + 8 * 16) + 16 * 10
    assert frameworks.compute_facts(module, make_inputs(SHAPE)).macs == by_hand


def test_sparsity_counts_only_weight_tensors() -> None:
    layer = nn.Linear(10, 4)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.weight[0, :7] = 0
        layer.weight[1, 0] = -0.0
        layer.bias.zero_()
    assert frameworks.compute_facts(layer, make_inputs((10,))).weight_sparsity == 8 / 40


def test_entropy_coded_size_counts_weights_biases_and_statistics() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 5))
    with torch.no_grad():
        module[0].weight.fill_(0.5)
        module[3].weight.zero_()
    one_value, nothing = HEADER_BYTES + 5, HEADER_BYTES
    by_hand = one_value + nothing + 4 * (8 + 4 * 8 + 5)
    assert frameworks.compute_facts(module, make_inputs((3, 3, 3))).entropy_coded_bytes == by_hand
    assert (
        frameworks.compute_facts(
            module.to(memory_format=torch.channels_last), make_inputs((3, 3, 3))
        ).entropy_coded_bytes
        == by_hand
    )


def test_computing_facts_does_not_change_the_module(module: nn.Module) -> None:
    before = {key: value.clone() for key, value in module.state_dict().items()}
    frameworks.compute_facts(module, make_inputs(SHAPE))
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
