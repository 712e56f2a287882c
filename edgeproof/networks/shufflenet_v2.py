"""ShuffleNetV2 for small images: channel split and channel shuffle, after Ma et al. (2018), figure 3 (c) and (d).

A unit transforms half of its channels and passes the other half unchanged. The shuffle then mixes both halves, so that
the next unit transforms channels of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.ports import Port

Even = Annotated[int, Field(gt=0, multiple_of=2)]

KIND = "image_classifier"


class Options(BaseModel):
    """Options of the network, set in conf/networks/shufflenet_v2.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[Even, ...] = Field(min_length=1, description="channels of each stage; must be even")
    blocks: PositiveInt = Field(description="number of units in each stage")
    head: PositiveInt = Field(description="channels of the last 1×1 convolution, which the classifier reads")
    stem_stride: int = Field(ge=1, le=4, description="stride of the first convolution; 2 halves the resolution")


def build(
    inputs: Sequence[Port], outputs: Sequence[Port], *, widths: Sequence[int], blocks: int, head: int, stem_stride: int
) -> nn.Module:
    """Build the network with random weights for one image (channels, height, width) and one output of class scores."""
    stem = nn.Sequential(*build_convolution(inputs[0].shape[0], widths[0], 3, stride=stem_stride), nn.ReLU())
    last = nn.Sequential(*build_convolution(widths[-1], head, 1), nn.ReLU())
    return ShuffleNetV2(stem, nn.Sequential(*build_units(widths, blocks)), last, nn.Linear(head, outputs[0].size))


class ShuffleNetV2(nn.Module):
    """Map images (N, C, H, W) to logits (N, classes). Every stage except the first halves the resolution."""

    def __init__(self, stem: nn.Module, blocks: nn.Module, head: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.head = head
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.head(self.blocks(self.stem(images)))
        logits: torch.Tensor = self.classifier(torch.flatten(self.pool(features), 1))
        return logits

    def fixed_layers(self) -> list[nn.Module]:
        """Return the layers whose channels must stay, because their outputs are split and shuffled by position."""
        ends = [unit.work[-3] for unit in self.modules() if isinstance(unit, Unit | Reduction)]
        return [self.stem, *ends, *(unit.shortcut for unit in self.modules() if isinstance(unit, Reduction))]


def build_units(widths: Sequence[int], blocks: int) -> Iterator[nn.Module]:
    """Yield the units of all stages in order."""
    channels_in = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            yield Reduction(channels_in, width) if stage > 0 and block == 0 else Unit(width)
            channels_in = width


class Unit(nn.Module):
    """Pass half of the channels unchanged and the other half through three convolutions, then shuffle. Figure 3 (c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.work = build_branch(channels // 2, channels // 2, stride=1)
        self.shuffle = Shuffle()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        unchanged, half = x.chunk(2, dim=1)
        out: torch.Tensor = self.shuffle(torch.cat((unchanged, self.work(half)), dim=1))
        return out


class Reduction(nn.Module):
    """Halve the resolution: both branches read all channels, then a shuffle mixes them. Figure 3 (d)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(
            *build_convolution(channels_in, channels_in, 3, stride=2, groups=channels_in),
            *build_convolution(channels_in, channels_out // 2, 1),
            nn.ReLU(),
        )
        self.work = build_branch(channels_in, channels_out // 2, stride=2)
        self.shuffle = Shuffle()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.shuffle(torch.cat((self.shortcut(x), self.work(x)), dim=1))
        return out


class Shuffle(nn.Module):
    """Interleave the two halves of the channels: first of each half, second of each half, …"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = x.shape
        halves = x.reshape(count, 2, channels // 2, height, width)
        return halves.transpose(1, 2).reshape(count, channels, height, width)


def build_branch(channels_in: int, channels_out: int, *, stride: int) -> nn.Sequential:
    """Build a branch that mixes channels, filters each channel separately, and mixes them again."""
    return nn.Sequential(
        *build_convolution(channels_in, channels_out, 1),
        nn.ReLU(),
        *build_convolution(channels_out, channels_out, 3, stride=stride, groups=channels_out),
        *build_convolution(channels_out, channels_out, 1),
        nn.ReLU(),
    )


def build_convolution(
    channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Build a convolution that keeps the resolution at stride 1, and a batch normalization."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(channels_out)]
