"""Let the weights of a layer share 2^bits values, and fine-tune those values.

Han, Mao, Dally: "Deep Compression" (2016), section 3. Each layer's weights are clustered by k-means from centroids
spaced evenly between the least and the largest weight (the paper's linear initialization, which keeps the rare large
weights). Each weight is stored as its cluster's centroid, and a centroid's gradient is the sum of its weights'
gradients, so the learning rate must be far below that of weights. Zeros of a pruned layer stay zero and take one of the
2^bits values. No runtime has kernels for codebooks: the gain shows in the entropy-coded size and not in the latency.

SciPy's k-means is deterministic when it is given its first centroids. Scikit-learn's adds its threads' sums in the
order in which they finish, and is not.
"""

from __future__ import annotations

import torch
from pydantic import Field
from scipy.cluster.vq import kmeans
from torch import nn
from torch.nn.utils import parametrize

from edgeproof.models.training import Recipe, TrainingTask, fit


class Options(Recipe):
    """What conf/methods/share_weights.yaml may set."""

    bits: int = Field(ge=2, le=8, description="log2 of the values that each layer may have")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Share the weights of every convolution and linear layer of `model` and fine-tune the values."""
    chosen = Options.model_validate(options)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", _SharedWeight(layer.weight.detach(), chosen.bits))
    fit(model, task, chosen)
    for layer in layers:
        # A parameter of the weight's own shape again: a gradient of the codebook's shape would not fit it.
        layer.zero_grad(set_to_none=True)
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return model


def build_codebook(weights: torch.Tensor, size: int) -> torch.Tensor:
    """At most `size` centroids of the weights (N,), ascending."""
    low, high = weights.min(), weights.max()
    if low == high:
        return low[None]
    # SciPy stops when the mean distance changes by less than an absolute threshold, so it is given weights in 0..1.
    scaled = ((weights - low) / (high - low)).double().numpy()
    centroids, _ = kmeans(scaled, torch.linspace(0, 1, size, dtype=torch.double).numpy(), thresh=1e-7)
    return (low + torch.from_numpy(centroids) * (high - low)).to(weights.dtype)


class _SharedWeight(nn.Module):
    """Makes a weight tensor from its codebook, which takes its place as the parameter that is trained."""

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
