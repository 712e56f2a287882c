"""A small anchor-free detector with one stage: a residual backbone, a feature pyramid, and a head for each scale.

It follows FCOS (Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", 2019) and YOLOX (Ge et al., 2021):
each position of a scale predicts a score for every class and its distances to the four sides of a box, in separate
branches of the head. Coarser features are enlarged and added to finer ones: Lin et al., "Feature Pyramid Networks for
Object Detection" (2017).

A scale is a pair of outputs, scores (classes, h, w) and distances (4, h, w). Its stride, a power of two, follows from
the size of the picture. The distances are not decoded here, because they lose less in integers this way: see the
postprocess() of the task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn
from torch.nn import functional

from edgeproof.core.errors import ConfigError
from edgeproof.core.ports import Port

KIND = "detector"
# The score of each position before training, so that the many empty ones do not dominate the first steps: Lin et al.,
# "Focal Loss for Dense Object Detection" (2017), section 3.3.
PRIOR = 0.01


class Options(BaseModel):
    """Options of the network, set in conf/networks/tiny_yolo.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[PositiveInt, ...] = Field(min_length=1, description="channels at the strides 2, 4, 8, …")
    blocks: PositiveInt = Field(description="residual blocks at every stride except 2")
    neck: PositiveInt = Field(description="channels of the feature pyramid and of the heads")
    head: PositiveInt = Field(description="3×3 convolutions in each branch of a head")


def build(
    inputs: Sequence[Port], outputs: Sequence[Port], *, widths: Sequence[int], blocks: int, neck: int, head: int
) -> nn.Module:
    """Build the network with random weights for one image and pairs of outputs, the finest scale first.

    Raises ConfigError for outputs that are no such pairs, or that are coarser than the last of the widths.
    """
    levels = find_levels(inputs[0], outputs)
    if levels[-1] >= len(widths):
        raise ConfigError(
            f"tiny_yolo with {len(widths)} widths has the strides 2 to {2 ** len(widths)}, and the output "
            f"'{outputs[-1].name}' needs {2 ** (levels[-1] + 1)}. Add a width for each stride."
        )
    return TinyYolo(inputs[0].shape[0], outputs[0].shape[0], levels, widths, blocks, neck, head)


def find_levels(image: Port, outputs: Sequence[Port]) -> list[int]:
    """Return the level of each scale: 0 for the stride 2, 1 for 4, and so on. Raises ConfigError."""
    levels = []
    for scores, distances in zip(outputs[::2], outputs[1::2], strict=False):
        size = image.shape[1:]
        level = -1
        while size != scores.shape[1:] and min(size) > 1:
            size = tuple(-(-side // 2) for side in size)
            level += 1
        if size != scores.shape[1:] or level < 0 or distances.shape != (4, *size):
            raise ConfigError(
                f"tiny_yolo can't give the outputs '{scores.name}' {scores.shape} and '{distances.name}' "
                f"{distances.shape}. A scale is scores (classes, h, w) and distances (4, h, w), where h×w is the "
                "size of the image, halved at least once."
            )
        levels.append(level)
    if not levels or len(outputs) % 2 or levels != sorted(set(levels)):
        raise ConfigError(f"tiny_yolo needs two outputs for each scale, the finest first, and not {len(outputs)}.")
    return levels


class TinyYolo(nn.Module):
    """Map images (N, C, H, W) to the scores and distances of each scale, one after another."""

    def __init__(
        self,
        channels: int,
        classes: int,
        levels: Sequence[int],
        widths: Sequence[int],
        blocks: int,
        neck: int,
        head: int,
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.stem = build_convolution(channels, widths[0], stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                Block(widths[n - 1], widths[n], stride=2),
                *(Block(widths[n], widths[n], stride=1) for _ in range(blocks - 1)),
            )
            for n in range(1, len(widths))
        )
        self.laterals = nn.ModuleList(nn.Conv2d(width, neck, 1) for width in widths[levels[0] :])
        self.heads = nn.ModuleList(Head(neck, classes, head) for _ in levels)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = [self.stem(images)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        pyramid = self._merge(features[self.levels[0] :])
        outputs: list[torch.Tensor] = []
        for level, head in zip(self.levels, self.heads, strict=True):
            outputs += head(pyramid[level - self.levels[0]])
        return tuple(outputs)

    def _merge(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the features of each level, with those of all coarser levels added."""
        merged: list[torch.Tensor] = []
        for feature, lateral in zip(reversed(features), reversed(list(self.laterals)), strict=True):
            own = lateral(feature)
            if merged:
                own = own + functional.interpolate(merged[0], size=own.shape[-2:], mode="nearest")
            merged.insert(0, own)
        return merged

    def fixed_layers(self) -> list[nn.Module]:
        """Return the layers that give the outputs, whose channels are classes and sides of a box."""
        return [layer for head in self.heads if isinstance(head, Head) for layer in (head.scores, head.distances)]


class Head(nn.Module):
    """Map features (N, C, h, w) to scores (N, classes, h, w) and distances (N, 4, h, w)."""

    def __init__(self, channels: int, classes: int, depth: int) -> None:
        super().__init__()
        self.score_branch = nn.Sequential(*(build_convolution(channels, channels) for _ in range(depth)))
        self.distance_branch = nn.Sequential(*(build_convolution(channels, channels) for _ in range(depth)))
        self.scores = nn.Conv2d(channels, classes, 1)
        self.distances = nn.Conv2d(channels, 4, 1)
        nn.init.constant_(self.scores.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]
        nn.init.constant_(self.distances.bias, 2.0)  # type: ignore[arg-type]

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scores(self.score_branch(features)), self.distances(self.distance_branch(features))


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut, which is a projection if the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = build_convolution(channels_in, channels_out, stride=stride)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.relu(self.norm2(self.conv2(self.conv1(x))) + self.shortcut(x))
        return out


def build_convolution(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Sequential:
    """Build a 3×3 convolution that keeps the resolution at stride 1, a batch normalization and a ReLU."""
    conv = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU())
