"""A small Transformer encoder over the patches (or rows) of an image: learned positions, pre-norm blocks, mean pooling.

Vaswani et al., "Attention Is All You Need" (2017), with patches as tokens as in Dosovitskiy et al., "An Image is Worth
16x16 Words" (2021), and a normalization before each half of a block as in Xiong et al., "On Layer Normalization in the
Transformer Architecture" (2020).

Methods can name these layers: `blocks.0` outputs hidden states (N, T, D), `blocks.0.attention.probabilities` outputs
attention (N, heads, T, T).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.core.ports import Port

KIND = "image_classifier"


class Options(BaseModel):
    """Options of the network, set in conf/networks/transformer.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    patch: tuple[PositiveInt, PositiveInt] = Field(
        description="height and width of a token in pixels; [1, image width] makes each row a token"
    )
    width: PositiveInt = Field(description="features of a token, a multiple of heads")
    depth: PositiveInt = Field(description="number of blocks")
    heads: PositiveInt = Field(description="attention heads in each block")
    expansion: PositiveInt = Field(description="factor by which a block's perceptron widens its input")


def build(
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    *,
    patch: Sequence[int],
    width: int,
    depth: int,
    heads: int,
    expansion: int,
) -> nn.Module:
    """Build the network with random weights for one image (channels, height, width) and one output of class scores.

    Raises ConfigError if patches do not tile the image or `heads` does not divide `width`.
    """
    channels, *sides = inputs[0].shape
    if sides[0] % patch[0] or sides[1] % patch[1]:
        raise ConfigError(
            f"transformer: patches of {patch[0]}×{patch[1]} do not tile an image of {sides[0]}×{sides[1]}. "
            "Choose a patch whose height and width divide the image's."
        )
    if width % heads:
        raise ConfigError(
            f"transformer: width {width} is not a multiple of heads {heads}. Every head takes an equal share of it."
        )
    tokens = (sides[0] // patch[0]) * (sides[1] // patch[1])
    blocks = [Block(width, heads, expansion) for _ in range(depth)]
    return Transformer(Embedding(channels, patch, tokens, width), blocks, nn.Linear(width, outputs[0].size))


class Transformer(nn.Module):
    """Map images (N, C, H, W) to logits (N, classes)."""

    def __init__(self, embedding: nn.Module, blocks: Sequence[nn.Module], classifier: nn.Linear) -> None:
        super().__init__()
        self.embedding = embedding
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(classifier.in_features)
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.blocks(self.embedding(images)))
        logits: torch.Tensor = self.classifier(hidden.mean(dim=1))
        return logits

    def fixed_layers(self) -> list[nn.Module]:
        """Return all layers except the first one of each perceptron.

        Normalizations and heads couple the features of a token, so single features can't be removed.
        """
        free = {inner.widen for inner in self.modules() if isinstance(inner, Perceptron)}
        return [layer for layer in self.modules() if isinstance(layer, nn.Conv2d | nn.Linear) and layer not in free]


class Embedding(nn.Module):
    """Map images (N, C, H, W) to tokens (N, T, D): a linear map of each patch plus a learned position."""

    def __init__(self, channels: int, patch: Sequence[int], tokens: int, width: int) -> None:
        super().__init__()
        size = (patch[0], patch[1])
        self.patches = nn.Conv2d(channels, width, size, stride=size)
        # One-dimensional like a bias, so that methods neither prune nor quantize it.
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(tokens * width), std=0.02))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.patches(images).flatten(2).transpose(1, 2)
        return tokens + self.positions.view(tokens.shape[1:])


class Block(nn.Module):
    """Add attention and a perceptron, each computed from normalized tokens, to tokens (N, T, D)."""

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.perceptron = Perceptron(width, width * expansion)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attention(self.norm1(tokens))
        out: torch.Tensor = tokens + self.perceptron(self.norm2(tokens))
        return out


class Attention(nn.Module):
    """Map tokens (N, T, D) to (N, T, D) by softmax(QKᵀ/√d) V in each head, equation 1 of Vaswani et al."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.probabilities = nn.Softmax(dim=-1)
        self.output = nn.Linear(width, width)
        self.heads = heads

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = (self._by_head(layer(tokens)) for layer in (self.query, self.key, self.value))
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        mixed = self.probabilities(scores) @ value
        out: torch.Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return out

    def _by_head(self, x: torch.Tensor) -> torch.Tensor:
        """Reshape (N, T, D) to (N, heads, T, D/heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Perceptron(nn.Module):
    """Map each token separately through two linear layers, with a wider layer between them."""

    def __init__(self, width: int, inside: int) -> None:
        super().__init__()
        self.widen = nn.Linear(width, inside)
        self.activation = nn.GELU()
        self.narrow = nn.Linear(inside, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.narrow(self.activation(self.widen(x)))
        return out
