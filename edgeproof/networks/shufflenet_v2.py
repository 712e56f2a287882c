"""Channel split and channel shuffle for small images, after ShuffleNetV2 (Ma et al., 2018), figure 3 (c) and (d).

A unit works on half of its channels and passes the other half through; the shuffle then mixes both halves, so that
the next unit works on channels from each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

Even = Annotated[int, Field(gt=0, multiple_of=2)]


class Options(BaseModel):
    """What conf/networks/shufflenet_v2.yaml may set."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[Even, ...] = Field(min_length=1, description="channels of each stage, even numbers")
    blocks: PositiveInt = Field(description="units in each stage")
    head: PositiveInt = Field(description="channels of the last 1×1 convolution, which the classifier reads")
    stem_stride: int = Field(ge=1, le=4, description="2 halves the resolution before the first stage")


def build(
    input_shape: Sequence[int], classes: int, *, widths: Sequence[int], blocks: int, head: int, stem_stride: int
) -> nn.Module:
    """Build the untrained network for inputs of `input_shape` (channels, height, width)."""
    stem = nn.Sequential(*convolution(input_shape[0], widths[0], 3, stride=stem_stride), nn.ReLU())
    last = nn.Sequential(*convolution(widths[-1], head, 1), nn.ReLU())
    return ShuffleNetV2(stem, nn.Sequential(*build_units(widths, blocks)), last, nn.Linear(head, classes))


class ShuffleNetV2(nn.Module):
    """Images (N, C, H, W) to logits (N, classes). Every stage but the first halves the resolution."""

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
        """Layers whose outputs are halved and shuffled by position: their channels cannot be removed one by one."""
        ends = [unit.work[-3] for unit in self.modules() if isinstance(unit, Unit | Reduction)]
        return [self.stem, *ends, *(unit.shortcut for unit in self.modules() if isinstance(unit, Reduction))]


def build_units(widths: Sequence[int], blocks: int) -> Iterator[nn.Module]:
    """All stages' units in order."""
    before = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            yield Reduction(before, width) if stage > 0 and block == 0 else Unit(width)
            before = width


class Unit(nn.Module):
    """Half of the channels pass, the other half goes through three convolutions; then a shuffle. Figure 3 (c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.work = branch(channels // 2, channels // 2, stride=1)
        self.shuffle = Shuffle()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        passed, worked = x.chunk(2, dim=1)
        out: torch.Tensor = self.shuffle(torch.cat((passed, self.work(worked)), dim=1))
        return out


class Reduction(nn.Module):
    """Half the resolution: both branches see all channels; then a shuffle. Figure 3 (d)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(
            *convolution(channels_in, channels_in, 3, stride=2, groups=channels_in),
            *convolution(channels_in, channels_out // 2, 1),
            nn.ReLU(),
        )
        self.work = branch(channels_in, channels_out // 2, stride=2)
        self.shuffle = Shuffle()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.shuffle(torch.cat((self.shortcut(x), self.work(x)), dim=1))
        return out


class Shuffle(nn.Module):
    """Take channels from both halves in turn: the first, the first of the second half, the second, …"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = x.shape
        halves = x.reshape(count, 2, channels // 2, height, width)
        return halves.transpose(1, 2).reshape(count, channels, height, width)


def branch(channels_in: int, channels_out: int, *, stride: int) -> nn.Sequential:
    """Mix channels, filter each by itself, mix again."""
    return nn.Sequential(
        *convolution(channels_in, channels_out, 1),
        nn.ReLU(),
        *convolution(channels_out, channels_out, 3, stride=stride, groups=channels_out),
        *convolution(channels_out, channels_out, 1),
        nn.ReLU(),
    )


def convolution(before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size at stride 1, and batch normalization."""
    conv = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(after)]
