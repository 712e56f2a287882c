"""A brought ONNX or TFLite file in the place of a network: it computes outputs that teach a student.

Only the method `brought` fills it. It has no weights that training, pruning or an export could use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from edgeproof.core.ports import Port
from edgeproof.models.brought_models import BroughtModule

FRAMEWORK = "torch"
KIND = "brought"


class Options(BaseModel):
    """Options of the network, set in conf/networks/brought.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    scores: Literal["logits", "probabilities"] = Field(
        description="what the file gives; probabilities follow a softmax"
    )


def build(inputs: Sequence[Port], outputs: Sequence[Port], *, scores: str) -> nn.Module:
    """Build the module without its file, which the method `brought` or a stored model adds."""
    return BroughtModule(inputs, outputs, scores)
