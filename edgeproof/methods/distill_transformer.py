"""Distill a Transformer layer by layer: what its heads attend to, its hidden states, and its logits.

Jiao et al., "TinyBERT: Distilling BERT for Natural Language Understanding" (2020), equations 7 to 11, in one stage:

    L = L_Hinton + a · Σ mean((A_s − A_t)²) + s · Σ mean((H_s W − H_t)²)

over the pairs of layers named in the options, with Hinton's loss (see losses.hinton_loss), the attention A and the
hidden states H of a layer, and one matrix W for all pairs, trained along and thrown away afterwards. A are the
attention distributions; the paper prefers the scores before the softmax, which have no scale in common between
networks whose heads differ in width. Where the numbers of heads differ, A is the mean over heads.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import nn
from torch.nn import functional

from edgeproof.core.errors import ConfigError
from edgeproof.models.layers import StudentWithAdapter, record_outputs
from edgeproof.models.losses import hinton_loss
from edgeproof.models.training import Batch, Recipe, TrainingTask, compute_logits, fit

LayerNames = tuple[str, ...]


class Options(Recipe):
    """What conf/methods/distill_transformer.yaml may set."""

    temperature: PositiveFloat
    hard_weight: float = Field(ge=0, le=1, description="weight of the cross-entropy with the true labels")
    attention_weight: NonNegativeFloat
    hidden_weight: NonNegativeFloat
    student_attention: LayerNames = Field(min_length=1, description="dotted names of layers that give (N, heads, T, T)")
    teacher_attention: LayerNames = Field(min_length=1)
    student_hidden: LayerNames = Field(min_length=1, description="dotted names of layers that give (N, T, width)")
    teacher_hidden: LayerNames = Field(min_length=1)

    @model_validator(mode="after")
    def _paired(self) -> Options:
        for kind in ("attention", "hidden"):
            ours, theirs = getattr(self, f"student_{kind}"), getattr(self, f"teacher_{kind}")
            if len(ours) != len(theirs):
                raise ValueError(f"student_{kind} names {len(ours)} layers and teacher_{kind} {len(theirs)}")
        return self


def apply(model: nn.Module, task: TrainingTask, *, teacher: nn.Module, **options: object) -> nn.Module:
    """Train the student `model` on labels and on the teacher's logits, attention and hidden states."""
    chosen = Options.model_validate(options)
    teacher.eval()
    ours = [*chosen.student_attention, *chosen.student_hidden]
    theirs = [*chosen.teacher_attention, *chosen.teacher_hidden]
    with record_outputs(model, ours) as learned, record_outputs(teacher, theirs) as taught:
        for module in (model, teacher):
            compute_logits(module, task.train_x[:1])
        _check_shapes(learned, taught, chosen)
        student = StudentWithAdapter(model, _build_adapter(*_find_hidden_widths(learned, taught, chosen), task.seed))

        def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
            with torch.no_grad():
                answers = teacher(batch.x)
            total = hinton_loss(
                logits, answers, batch.labels, temperature=chosen.temperature, hard_weight=chosen.hard_weight
            )
            for one, other in zip(chosen.student_attention, chosen.teacher_attention, strict=True):
                total = total + chosen.attention_weight * attention_loss(learned[one], taught[other])
            for one, other in zip(chosen.student_hidden, chosen.teacher_hidden, strict=True):
                hidden = functional.mse_loss(student.adapter(learned[one]), taught[other])
                total = total + chosen.hidden_weight * hidden
            return total

        fit(student, task, chosen, loss=loss)
    return model


def attention_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The mean squared difference of attention distributions (N, heads, T, T)."""
    if student.shape[1] != teacher.shape[1]:
        student, teacher = student.mean(1), teacher.mean(1)
    return functional.mse_loss(student, teacher)


def _check_shapes(learned: Mapping[str, torch.Tensor], taught: Mapping[str, torch.Tensor], chosen: Options) -> None:
    """Raises ConfigError unless the named layers give attention and hidden states over the same sequence."""
    expected = (
        (chosen.student_attention, chosen.teacher_attention, 4),
        (chosen.student_hidden, chosen.teacher_hidden, 3),
    )
    for ours, theirs, dimensions in expected:
        for one, other in zip(ours, theirs, strict=True):
            shapes = learned[one].shape, taught[other].shape
            what = "attention (N, heads, T, T)" if dimensions == 4 else "hidden states (N, T, width)"
            if any(len(shape) != dimensions for shape in shapes):
                raise ConfigError(
                    f"'{one}' gives {list(shapes[0])} and the teacher's '{other}' {list(shapes[1])}, which is not "
                    f"{what}. Name layers of a Transformer, such as blocks.0 and blocks.0.attention.probabilities."
                )
            if shapes[0][-2] != shapes[1][-2] or (dimensions == 4 and shapes[0][-1] != shapes[1][-1]):
                raise ConfigError(
                    f"'{one}' and the teacher's '{other}' see sequences of {shapes[0][-2]} and {shapes[1][-2]} steps. "
                    "Give student and teacher the same patches."
                )


def _find_hidden_widths(
    learned: Mapping[str, torch.Tensor], taught: Mapping[str, torch.Tensor], chosen: Options
) -> tuple[int, int]:
    """Those of the student's and of the teacher's hidden states, for which there is one adapter.

    Raises ConfigError where the layers of one network differ.
    """
    both = []
    for heard, names in ((learned, chosen.student_hidden), (taught, chosen.teacher_hidden)):
        widths = {name: heard[name].shape[2] for name in names}
        if len(set(widths.values())) > 1:
            told = ", ".join(f"'{name}' has {width}" for name, width in widths.items())
            raise ConfigError(
                f"hidden states of one network must have one width, but {told}. Name blocks, such as blocks.0."
            )
        both.append(widths[names[0]])
    return both[0], both[1]


def _build_adapter(width: int, hint_width: int, seed: int) -> nn.Module:
    if width == hint_width:
        return nn.Identity()
    matrix = nn.Linear(width, hint_width, bias=False)
    nn.init.xavier_uniform_(matrix.weight, generator=torch.Generator().manual_seed(seed))
    return matrix
