"""Fine-tune published weights: load them from a safetensors file, then train like `train`.

The network renames the tensors with its function translate_weights(). Tensors that the file does not have, such as a
new classifier, keep their random values, if the options name them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field, StringConstraints
from torch import nn

from edgeproof.config.params import Source
from edgeproof.config.validation import Checksum
from edgeproof.data.published_files import fetch_published_file
from edgeproof.models import weight_files
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import TrainingTask

Beginning = Annotated[str, StringConstraints(min_length=1)]
SETTINGS = "conf/methods/fine_tune.yaml or the options of the model"


class Options(Recipe):
    """Options of the method, set in conf/methods/fine_tune.yaml."""

    sources: list[Source] = Field(min_length=1, description="where the file of weights comes from, tried in order")
    file: str = Field(pattern=r"^[\w.-]+\.safetensors$", description="name of the file of weights")
    sha256: Checksum = Field(description="SHA-256 of the file")
    new: list[Beginning] = Field(description="beginnings of the names of tensors that the file does not have")


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Load the published weights into `model`, then minimize the task's loss on its training split.

    Raises DataError if the file can't be had, and ConfigError if its tensors do not fit the network.
    """
    chosen = Options.model_validate(options)
    path = fetch_published_file(task.name, chosen.sources, chosen.file, chosen.sha256, listed_in=SETTINGS)
    published = weight_files.read_weights(path)
    load_weights(model, weight_files.translate(published, model), chosen)
    return fit(model, task, chosen)


def load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], chosen: Options) -> None:
    """Copy tensors into a module. Raises ConfigError that names each tensor that does not fit and the nearest name."""
    state = model.state_dict()
    new = {name for name in state if name.startswith(tuple(chosen.new))}
    cure = "Change network_options, or list the beginnings of names that the file does not have in 'new'."
    weight_files.check_fit(
        weight_files.list_shapes(weights), weight_files.list_shapes(state), chosen.file, cure, new=new
    )
    model.load_state_dict({name: tensor for name, tensor in weights.items() if name not in new}, strict=False)
