"""Take an ONNX or TFLite file as a teacher: a model of the study whose outputs `distill` and other methods learn from.

The file is the user's, or a published one that the option `sources` fetches.
The model can't be trained, pruned, quantized or exported: such a file has no layers of torch or Keras. 'edgeproof bench
FILE' measures the file itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from torch import nn

from edgeproof.config.params import Source
from edgeproof.core.errors import ConfigError
from edgeproof.data.published_files import fetch_published_file
from edgeproof.models import weight_files
from edgeproof.models.brought_models import BroughtModule, look_like_probabilities
from edgeproof.models.training_task import TrainingTask, compute_outputs

# Other models can't start from this one, and it can't be exported.
FINAL = True
TEACHER_ONLY = True
# The option that names the user's file, on which the model depends.
FILE_OPTION = "file"
SETTINGS = "the options of the model"
_CHECKED_SAMPLES = 64


class Options(BaseModel):
    """Options of the method, set in conf/methods/brought.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[str, StringConstraints(pattern=r"\.(onnx|tflite)$")] = Field(
        description="the .onnx or .tflite file"
    )
    sha256: weight_files.Sha256 = Field(description="SHA-256 of the file")
    sources: list[Source] = Field(
        default=[], description="where a published file comes from, tried in order; none: 'file' is a path of your own"
    )


def apply(model: nn.Module, task: TrainingTask, **options: object) -> nn.Module:
    """Put the file into `model`, which must be the network `brought`.

    Raises DataError for a file that can't be had or differs from the one that `sha256` names, and ConfigError for a
    file that does not fit the task, or whose outputs are probabilities where logits are expected.
    """
    chosen = Options.model_validate(options)
    if not isinstance(model, BroughtModule):
        raise ConfigError("the method 'brought' needs the network of the same name. Write 'network: brought'.")
    model.set_content(_get_file(chosen, task.name).read_bytes())
    outputs = compute_outputs(model, tuple(tensor[:_CHECKED_SAMPLES] for tensor in task.validation.inputs))
    if task.is_classification and look_like_probabilities(outputs):
        raise ConfigError(
            f"{chosen.file} gives probabilities, and distillation compares logits. Write 'network_options: {{scores: "
            "probabilities}', whose logarithms are then taken."
        )
    return model


def _get_file(chosen: Options, task: str) -> Path:
    """Return the path of the file with the given sha256, fetched if it has sources. Raises DataError."""
    if chosen.sources:
        return fetch_published_file(task, chosen.sources, chosen.file, chosen.sha256, listed_in=SETTINGS)
    path = Path(chosen.file)
    weight_files.verify_sha256(path, chosen.sha256, "the option 'sha256'")
    return path
