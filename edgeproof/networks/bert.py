"""BERT as a classifier of texts: embedded tokens, post-norm blocks, the mean over tokens, a linear classifier.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding" (2019). The mean over
tokens in place of the first token is that of Reimers, Gurevych, "Sentence-BERT" (2019). The input holds the numbers of
word pieces; 0 is padding, which attention and mean leave out.

Methods can name these layers: `blocks.0` outputs hidden states (N, T, D), `blocks.0.attention.probabilities` outputs
attention (N, heads, T, T).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.core.ports import Port

KIND = "text_classifier"
# Added to the attention scores of padding: so low that softmax gives zero, yet near enough to the scores of tokens that
# eight bits can hold both. With -10000, int8-static would round the scores of all tokens to the same number.
PADDING_SCORE = -32.0
LAYER_NORM_EPSILON = 1e-12  # of the published weights

# Names of tensors in published BERT weights, and the names of the same tensors here.
_PUBLISHED_NAMES = (
    (r"embeddings\.word_embeddings\.", "embedding.words."),
    (r"embeddings\.position_embeddings\.", "embedding.positions."),
    (r"embeddings\.token_type_embeddings\.", "embedding.kinds."),
    (r"embeddings\.LayerNorm\.", "embedding.norm."),
    (r"encoder\.layer\.(\d+)\.attention\.self\.", r"blocks.\1.attention."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attention.output."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.", r"blocks.\1.norm1."),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.", r"blocks.\1.perceptron.widen."),
    (r"encoder\.layer\.(\d+)\.output\.dense\.", r"blocks.\1.perceptron.narrow."),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm\.", r"blocks.\1.norm2."),
)
# Published tensors that this network has no use for.
_UNUSED = re.compile(r"pooler\.|embeddings\.position_ids$")


class Options(BaseModel):
    """Options of the network, set in conf/networks/bert.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    vocabulary: PositiveInt = Field(description="number of word pieces")
    width: PositiveInt = Field(description="features of a token, a multiple of heads")
    depth: PositiveInt = Field(description="number of blocks")
    heads: PositiveInt = Field(description="attention heads in each block")
    inner: PositiveInt = Field(description="features inside a block's perceptron")


def build(
    inputs: Sequence[Port], outputs: Sequence[Port], *, vocabulary: int, width: int, depth: int, heads: int, inner: int
) -> nn.Module:
    """Build the network with random weights for one input of word pieces (T,) and one output of class scores.

    Raises ConfigError if the input is not a row of integers, or `heads` does not divide `width`.
    """
    if len(inputs[0].shape) != 1 or not inputs[0].is_integer:
        raise ConfigError(
            f"bert reads a row of integers, and the task's input '{inputs[0].name}' is {inputs[0].dtype} of shape "
            f"{inputs[0].shape}. Use a task of texts, such as sst2."
        )
    if width % heads:
        raise ConfigError(f"bert: width {width} is not a multiple of heads {heads}. Every head takes an equal share.")
    blocks = [Block(width, heads, inner) for _ in range(depth)]
    return Bert(Embedding(vocabulary, inputs[0].shape[0], width), blocks, nn.Linear(width, outputs[0].size))


def translate_weights(published: Mapping[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """Rename the tensors of published BERT weights to those of `module`.

    Positions beyond the module's longest text are cut off. The first of the two kinds of sentences is kept.
    """
    translated = {}
    for name, tensor in published.items():
        name = name.removeprefix("bert.")
        if _UNUSED.match(name):
            continue
        for pattern, ours in _PUBLISHED_NAMES:
            name = re.sub(f"^{pattern}", ours, name)
        translated[name] = tensor
    state = module.state_dict()
    for name in ("embedding.positions.weight", "embedding.kinds.weight"):
        if name in translated:
            translated[name] = translated[name][: len(state[name])]
    return translated


class Bert(nn.Module):
    """Map word pieces (N, T) to logits (N, classes)."""

    def __init__(self, embedding: nn.Module, blocks: Sequence[nn.Module], classifier: nn.Linear) -> None:
        super().__init__()
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.classifier = classifier

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        present = (tokens != 0).to(self.classifier.weight.dtype)
        scores = (1 - present)[:, None, None, :] * PADDING_SCORE
        hidden = self.embedding(tokens)
        for block in self.blocks:
            hidden = block(hidden, scores)
        weights = present[:, :, None]
        mean = (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)
        logits: torch.Tensor = self.classifier(mean)
        return logits

    def fixed_layers(self) -> list[nn.Module]:
        """Return all linear layers except the first one of each perceptron.

        Normalizations and heads couple the features of a token, so single features can't be removed.
        """
        free = {inner.widen for inner in self.modules() if isinstance(inner, Perceptron)}
        return [layer for layer in self.modules() if isinstance(layer, nn.Linear | nn.Embedding) and layer not in free]


class Embedding(nn.Module):
    """Map word pieces (N, T) to tokens (N, T, D): the sum of a word's, a position's and a sentence's vector."""

    def __init__(self, vocabulary: int, tokens: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(tokens, width)
        self.kinds = nn.Embedding(1, width)
        self.norm = nn.LayerNorm(width, LAYER_NORM_EPSILON)
        for table in (self.words, self.positions, self.kinds):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.norm(self.words(tokens) + self.positions.weight + self.kinds.weight)
        return out


class Block(nn.Module):
    """Attention and a perceptron over tokens (N, T, D), each added to its input and then normalized."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width, LAYER_NORM_EPSILON)
        self.perceptron = Perceptron(width, inner)
        self.norm2 = nn.LayerNorm(width, LAYER_NORM_EPSILON)

    def forward(self, tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        tokens = self.norm1(tokens + self.attention(tokens, scores))
        out: torch.Tensor = self.norm2(tokens + self.perceptron(tokens))
        return out


class Attention(nn.Module):
    """Map tokens (N, T, D) to (N, T, D) by softmax(QKᵀ/√d + s) V in each head, with scores s (N, 1, 1, T)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.probabilities = nn.Softmax(dim=-1)
        self.output = nn.Linear(width, width)
        self.heads = heads

    def forward(self, tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        def split(x: torch.Tensor) -> torch.Tensor:
            return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

        query, key, value = split(self.query(tokens)), split(self.key(tokens)), split(self.value(tokens))
        weights = self.probabilities(query @ key.transpose(2, 3) * query.shape[-1] ** -0.5 + scores)
        out: torch.Tensor = self.output((weights @ value).transpose(1, 2).flatten(2))
        return out


class Perceptron(nn.Module):
    """Map each token separately through two linear layers."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.widen = nn.Linear(width, inner)
        self.activation = nn.GELU()
        self.narrow = nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.narrow(self.activation(self.widen(x)))
        return out
