"""Start from weights that you trained elsewhere: a safetensors file, or a state_dict in a .pt, .pth or .bin file.

Nothing is trained. The network renames the tensors with its function translate_weights(), if it has one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from torch import nn

from edgeproof.core.errors import DataError
from edgeproof.models import weight_files
from edgeproof.models.training_task import TrainingTask

# The option that names the user's file, on which the model depends.
FILE_OPTION = "weights"


class Options(BaseModel):
    """Options of the method, set in conf/methods/pretrained.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Annotated[str, StringConstraints(pattern=r"\.(safetensors|pt|pth|bin)$")] = Field(
        description="the file of weights: .safetensors, .pt, .pth or .bin"
    )
    sha256: weight_files.Sha256 = Field(description="SHA-256 of the file")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Load the file's tensors into `model`.

    Raises DataError for another file than the one that `sha256` names, and for one that is damaged. Raises ConfigError
    for tensors that do not fit the network.
    """
    chosen = Options.model_validate(options)
    path = Path(chosen.weights)
    weight_files.verify_sha256(path, chosen.sha256, "the option 'sha256'")
    weights = weight_files.translate(weight_files.read_weights(path), model)
    state = model.state_dict()
    # Older versions of torch did not count the batches of a normalization, and nothing reads the count.
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    weight_files.check_fit(
        weight_files.list_shapes(weights), weight_files.list_shapes(state), path.name, weight_files.CURE, new=counters
    )
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DataError(f"{path}: the tensor '{name}' holds NaN or infinity. Save the weights again.")
    model.load_state_dict(weights, strict=False)
    return model
