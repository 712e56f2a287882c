"""Quantize weights by sharing: the weights of a layer share at most 2^b values, and these values are fine-tuned.

Han, Mao, Dally: "Deep Compression" (2016), section 3. The weights of each layer are clustered by k-means. The initial
centroids are evenly spaced between the smallest and the largest weight (the paper's linear initialization, which keeps
the rare large weights). Each weight takes the value of its cluster's centroid. The gradient of a centroid is the sum of
the gradients of its weights, so the learning rate must be far below that of ordinary training.

Zeros of a pruned layer stay zero and take one of the 2^b values. No runtime has kernels for codebooks: the
entropy-coded size shrinks, the latency does not.

k-means of SciPy is deterministic if the initial centroids are given. That of scikit-learn is not, because it adds the
sums of its threads in the order in which they finish.
"""

from __future__ import annotations

import torch
from pydantic import Field
from scipy.cluster.vq import kmeans
from torch import nn
from torch.nn.utils import parametrize

from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import TrainingTask


class Options(Recipe):
    """Options of the method, set in conf/methods/share_weights.yaml."""

    bits: int = Field(ge=2, le=8, description="b, for at most 2^b distinct values in each layer")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Cluster the weights of every convolution and linear layer of `model`, then fine-tune the shared values."""
    chosen = Options.model_validate(options)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", _SharedWeight(layer.weight.detach(), chosen.bits))
    fit(model, task, chosen)
    for layer in layers:
        # Removing the parametrization gives the parameter the shape of the weight. A gradient of the codebook's shape
        # would not fit.
        layer.zero_grad(set_to_none=True)
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return model


def build_codebook(weights: torch.Tensor, size: int) -> torch.Tensor:
    """Return at most `size` centroids of the weights (N,), ascending."""
    low, high = weights.min(), weights.max()
    if low == high:
        return low[None]
    # SciPy stops when the mean distance changes by less than an absolute threshold, so scale the weights to 0..1.
    scaled = ((weights - low) / (high - low)).double().numpy()
    centroids, _ = kmeans(scaled, torch.linspace(0, 1, size, dtype=torch.double).numpy(), thresh=1e-7)
    return (low + torch.from_numpy(centroids) * (high - low)).to(weights.dtype)


class _SharedWeight(nn.Module):
    """Parametrization that computes a weight tensor from its codebook. The codebook is the trained parameter."""

    def __init__(self, weight: torch.Tensor, bits: int) -> None:
        super().__init__()
        self.mask = weight != 0
        used = weight[self.mask]
        has_zeros = len(used) < weight.numel()
        self.codebook = build_codebook(used, 2**bits - has_zeros) if len(used) else weight.new_zeros(1)
        midpoints = (self.codebook[1:] + self.codebook[:-1]) / 2
        self.codes = torch.bucketize(weight.contiguous(), midpoints)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        return self.codebook

    def forward(self, codebook: torch.Tensor) -> torch.Tensor:
        return torch.where(self.mask, codebook[self.codes], 0.0)
