"""A network is run once before it is trained: a mistake in its file is one line that names the file and the task."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.core.ports import Port
from edgeproof.models.model_files import NetworkSpec
from edgeproof.models.network_check import build_checked

INPUTS, OUTPUTS = (Port("image", (3, 8, 8)),), (Port("logits", (3,)),)
NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(192, classes)

    def forward(self, x):
        {forward}

def build(inputs, outputs):
    {build}
"""
FORWARD = "return self.last(self.drop(self.norm(x)).flatten(1))"
BUILD = "return Net(outputs[0].size)"


def make_spec(plugin_root: Path, forward: str = FORWARD, build: str = BUILD) -> NetworkSpec:
    (plugin_root / "networks" / "mine.py").write_text(NETWORK.format(forward=forward, build=build))
    return NetworkSpec("mine", {}, INPUTS, OUTPUTS)


@pytest.mark.parametrize(
    ("forward", "build", "message"),
    [
        (FORWARD, "return Net(10)", "mine.py: the network returns (N, 10), and the task needs 'logits' (N, 3)"),
        ("return x", BUILD, "the network returns (N, 3, 8, 8)"),
        ("return self.last(x.flatten(1))[0]", BUILD, "the network returns (3), and the task needs"),
        ("return self.last(x.flatten(1)), x", BUILD, "the network returns (N, 3) and (N, 3, 8, 8)"),
        ("return {'logits': x}", BUILD, "the network returns dict. It must return a tensor"),
        ("return self.last(x.mean(1))", BUILD, "mine.py, line 13: RuntimeError: mat1 and mat2 shapes cannot be multi"),
        (FORWARD, "return nn.Linaer(3, 3)", "mine.py, line 16: AttributeError: module 'torch.nn' has no attribute"),
        (FORWARD, "pass", "mine.py: build() returned None"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file(plugin_root: Path, forward: str, build: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        build_checked(make_spec(plugin_root, forward, build))
    assert str(caught.value).startswith(str(plugin_root / "networks" / "mine.py"))


def test_the_check_changes_nothing_of_the_network_and_no_random_number(plugin_root: Path) -> None:
    spec = make_spec(plugin_root)
    torch.manual_seed(3)
    plain = spec.build()
    drawn = torch.rand(1)
    torch.manual_seed(3)
    checked: nn.Module = build_checked(spec)
    assert torch.equal(torch.rand(1), drawn)
    assert checked.training
    for name, tensor in plain.state_dict().items():
        assert torch.equal(checked.state_dict()[name], tensor), name
