"""Distill a Transformer layer by layer: its attention, its hidden states and its logits.

Jiao et al., "TinyBERT: Distilling BERT for Natural Language Understanding" (2020), equations 7 to 11, in one stage:

    L = L_Hinton + a · Σ mean((A_s − A_t)²) + s · Σ mean((H_s W − H_t)²)

over the pairs of layers named in the options, with the loss of losses.hinton_loss, the attention A and the hidden
states H of a layer. All pairs share the matrix W, which is trained too and discarded afterwards.

A is the attention distribution. The paper prefers the scores before the softmax, but these have no common scale in
networks with heads of different widths. If the numbers of heads differ, A is the mean over heads.

The student's embeddings may start as projections of the teacher's, and W as the transposed projection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import nn
from torch.nn import functional

from edgeproof.core.errors import ConfigError
from edgeproof.models.embedding_projection import project_embeddings
from edgeproof.models.layer_outputs import StudentWithAdapter, record_outputs
from edgeproof.models.losses import compare_with_teacher
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import Batch, TrainingTask, compute_outputs

LayerNames = tuple[str, ...]


class Options(Recipe):
    """Options of the method, set in conf/methods/distill_transformer.yaml."""

    temperature: PositiveFloat = Field(description="divides the logits of both networks before the softmax")
    hard_weight: float = Field(ge=0, le=1, description="weight of the true labels, 0 to 1; the teacher has the rest")
    attention_weight: NonNegativeFloat = Field(description="weight a of the attention")
    hidden_weight: NonNegativeFloat = Field(description="weight s of the hidden states")
    student_attention: LayerNames = Field(
        min_length=1, description="dotted names of layers that output (N, heads, T, T)"
    )
    teacher_attention: LayerNames = Field(min_length=1, description="their counterparts, in the same order")
    student_hidden: LayerNames = Field(min_length=1, description="dotted names of layers that output (N, T, width)")
    teacher_hidden: LayerNames = Field(min_length=1, description="their counterparts, in the same order")

    embeddings: LayerNames = Field(
        description="dotted names of embeddings that start as projections of the teacher's, of which the first decides"
    )

    @model_validator(mode="after")
    def _check_pairs(self) -> Options:
        for kind in ("attention", "hidden"):
            ours, theirs = getattr(self, f"student_{kind}"), getattr(self, f"teacher_{kind}")
            if len(ours) != len(theirs):
                raise ValueError(
                    f"student_{kind} names {len(ours)} layers and teacher_{kind} {len(theirs)}. Name pairs of layers."
                )
        return self


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on the true labels and the teacher's logits, attention and hidden states.

    Raises ConfigError if a named layer is missing or has an output of another kind.
    """
    chosen = Options.model_validate(options)
    teacher.eval()
    directions = project_embeddings(model, teacher, chosen.embeddings) if chosen.embeddings else None
    student_layers = [*chosen.student_attention, *chosen.student_hidden]
    teacher_layers = [*chosen.teacher_attention, *chosen.teacher_hidden]
    with record_outputs(model, student_layers) as ours, record_outputs(teacher, teacher_layers) as theirs:
        for module in (model, teacher):
            compute_outputs(module, task.train.select(slice(1)).inputs)
        _check_shapes(ours, theirs, chosen)
        widths = _find_hidden_width(ours, chosen.student_hidden), _find_hidden_width(theirs, chosen.teacher_hidden)
        student = StudentWithAdapter(model, _build_adapter(*widths, task.seed, directions))

        def loss(outputs: Any, batch: Batch) -> torch.Tensor:
            with torch.no_grad():
                teacher_outputs = teacher(*batch.inputs)
            total = compare_with_teacher(
                task, outputs, teacher_outputs, batch, temperature=chosen.temperature, hard_weight=chosen.hard_weight
            )
            for our_name, their_name in zip(chosen.student_attention, chosen.teacher_attention, strict=True):
                total = total + chosen.attention_weight * attention_loss(ours[our_name], theirs[their_name])
            for our_name, their_name in zip(chosen.student_hidden, chosen.teacher_hidden, strict=True):
                hidden = functional.mse_loss(student.adapter(ours[our_name]), theirs[their_name])
                total = total + chosen.hidden_weight * hidden
            return total

        fit(student, task, chosen, loss=loss)
    return model


def attention_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of attention distributions (N, heads, T, T)."""
    if student.shape[1] != teacher.shape[1]:
        student, teacher = student.mean(1), teacher.mean(1)
    return functional.mse_loss(student, teacher)


def _check_shapes(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor], chosen: Options) -> None:
    """Raise ConfigError unless the named layers output attention and hidden states of equally long sequences."""
    attention = zip(chosen.student_attention, chosen.teacher_attention, strict=True)
    hidden = zip(chosen.student_hidden, chosen.teacher_hidden, strict=True)
    pairs = [(*pair, 4, "attention (N, heads, T, T)") for pair in attention]
    pairs += [(*pair, 3, "hidden states (N, T, width)") for pair in hidden]
    for our_name, their_name, dimensions, meaning in pairs:
        shapes = ours[our_name].shape, theirs[their_name].shape
        if any(len(shape) != dimensions for shape in shapes):
            raise ConfigError(
                f"layer '{our_name}' outputs {list(shapes[0])} and the teacher's '{their_name}' {list(shapes[1])}, "
                f"which is not {meaning}. Name layers of a Transformer, such as blocks.0 and "
                "blocks.0.attention.probabilities."
            )
        if shapes[0][-2] != shapes[1][-2] or (dimensions == 4 and shapes[0][-1] != shapes[1][-1]):
            raise ConfigError(
                f"'{our_name}' and the teacher's '{their_name}' see sequences of {shapes[0][-2]} and {shapes[1][-2]} "
                "steps. Give student and teacher the same patches."
            )


def _find_hidden_width(outputs: Mapping[str, torch.Tensor], names: LayerNames) -> int:
    """Return the width of one network's hidden states.

    Raises ConfigError if the named layers differ in width, since all pairs share one adapter.
    """
    widths = {name: outputs[name].shape[2] for name in names}
    if len(set(widths.values())) > 1:
        listing = ", ".join(f"'{name}' has {width}" for name, width in widths.items())
        raise ConfigError(
            f"hidden states of one network must have one width, but {listing}. Name blocks, such as blocks.0."
        )
    return widths[names[0]]


def _build_adapter(student_width: int, teacher_width: int, seed: int, directions: torch.Tensor | None) -> nn.Module:
    if student_width == teacher_width:
        return nn.Identity()
    matrix = nn.Linear(student_width, teacher_width, bias=False)
    if directions is not None and directions.shape == matrix.weight.shape:
        matrix.weight.data.copy_(directions)
    else:
        nn.init.xavier_uniform_(matrix.weight, generator=torch.Generator().manual_seed(seed))
    return matrix
