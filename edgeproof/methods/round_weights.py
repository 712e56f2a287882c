"""Quantize weights to 2^b − 1 levels in each output channel, and fine-tune them with the straight-through estimator.

Symmetric per-channel quantization as in weight_rounding.round_weight. The gradient of the rounding is taken as 1
(Bengio et al., 2013). Weights that were zero before stay zero. LiteRT's schemes int4-weights and int4-static store
weights of 4 bits as they are here. All other schemes store them dequantized: the entropy-coded size shrinks, the
latency does not.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import nn

from edgeproof.models.distillation import TaughtRecipe, make_optional_loss
from edgeproof.models.training_task import TrainingTask
from edgeproof.models.weight_rounding import fit_with_rounding, round_weight


class Options(TaughtRecipe):
    """Options of the method, set in conf/methods/round_weights.yaml."""

    bits: int = Field(ge=2, le=8, description="b, for 2^b − 1 levels in each output channel")


def apply(model: nn.Module, task: TrainingTask, *, teachers: Sequence[nn.Module] = (), **options: object) -> nn.Module:
    """Fine-tune `model` with rounded weights in every convolution and linear layer, and store them rounded.

    The loss is the task's own, or with teachers that of models/distillation.py, as in Mishra, Marr: "Apprentice: Using
    Knowledge Distillation Techniques To Improve Low-Precision Network Accuracy" (2018).
    """
    chosen = Options.model_validate(options)
    loss = make_optional_loss(teachers, task, chosen, "round_weights")
    return fit_with_rounding(model, task, chosen, lambda weight: round_weight(weight, chosen.bits), loss=loss)
