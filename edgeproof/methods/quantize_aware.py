"""Train with fake quantization, so that the network stays accurate in the integer arithmetic of one runtime.

The recipe of Nagel et al., "A White Paper on Neural Network Quantization" (2021), section 4.4: fold the batch
normalizations, calibrate the ranges on training data, and fine-tune through the rounding (models/qat.py). With
teachers, the loss is that of models/distillation.py, as in Mishra, Marr: "Apprentice: Using Knowledge Distillation
Techniques To Improve Low-Precision Network Accuracy" (2018).

Weights that were zero before stay zero. The model has one scheme, int8-qat, and cannot be the parent of another.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import nn

from edgeproof.models.distillation import TaughtRecipe, make_optional_loss
from edgeproof.models.qat import Runtime, prepare
from edgeproof.models.training import fit
from edgeproof.models.training_task import TrainingTask, split_inputs

FINAL = True  # no method can follow this one
CALIBRATION_SAMPLES, CALIBRATION_BATCH = 1000, 100


class Options(TaughtRecipe):
    """Options of the method, set in conf/methods/quantize_aware.yaml."""

    runtime: Runtime = Field(description="the runtime whose integer arithmetic is simulated")


def apply(model: nn.Module, task: TrainingTask, *, teachers: Sequence[nn.Module] = (), **options: object) -> nn.Module:
    """Prepare `model` for the runtime, calibrate it, and fine-tune it on the true labels and the teachers, if any."""
    chosen = Options.model_validate(options)
    loss = make_optional_loss(teachers, task, chosen, "quantize_aware")
    prepared = prepare(model, chosen.runtime, task.inputs)
    order = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(task.seed))
    calibration = task.train.select(order[:CALIBRATION_SAMPLES]).inputs
    prepared.calibrate(split_inputs(calibration, CALIBRATION_BATCH))
    fit(prepared, task, chosen, loss=loss, keep_zeros=True)
    prepared.round_weights()
    # A loaded model is contiguous. Another memory layout adds in another order and moves some values by a whole level.
    return prepared.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]
