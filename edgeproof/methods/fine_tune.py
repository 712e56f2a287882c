"""Fine-tune published weights: load them from a safetensors file, then train like `train`.

The network renames the tensors with its function translate_weights(). Tensors that the file does not have, such as a
new classifier, keep their random values, if the options name them.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import safetensors
import safetensors.torch
import torch
from pydantic import Field, StringConstraints
from torch import nn

from edgeproof.config.params import Source
from edgeproof.config.validation import Checksum
from edgeproof.core.errors import ConfigError, DataError
from edgeproof.data import sources
from edgeproof.models.training import Recipe, fit
from edgeproof.models.training_task import TrainingTask
from edgeproof.paths import DATA

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
    published = read_weights(fetch_weights(task.name, chosen))
    load_weights(model, translate(published, model), chosen)
    return fit(model, task, chosen)


def fetch_weights(task: str, chosen: Options, root: Path = DATA) -> Path:
    """Return the path of the file of weights, after fetching it once into `root`. Raises DataError."""
    folder = root / "weights" / chosen.sha256.removeprefix("md5:")[:16]
    files = {chosen.file: chosen.sha256}
    if not sources.is_intact(folder, chosen.sources, files):
        sources.fetch(task, chosen.sources, files, folder, listed_in=SETTINGS)
    return folder / chosen.file


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file. Raises DataError for any other file: pickled weights would run code."""
    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, KeyError) as error:
        raise DataError(f"{path} is no safetensors file ({error})") from error
    return tensors


def translate(published: Mapping[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Rename the published tensors with the function of the network. Without one, the names are the network's."""
    translate_weights = getattr(inspect.getmodule(type(model)), "translate_weights", None)
    return dict(published) if translate_weights is None else translate_weights(published, model)


def load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], chosen: Options) -> None:
    """Copy tensors into a module. Raises ConfigError that names each tensor that does not fit and the nearest name."""
    state = model.state_dict()
    new = {name for name in state if name.startswith(tuple(chosen.new))}
    problems = [
        *(_describe_missing(name, tensor, weights) for name, tensor in state.items() if name not in {*weights, *new}),
        *(_describe_unknown(name, state) for name in weights if name not in state),
        *(
            f"'{name}' is {_describe_shape(tensor)} in the file and {_describe_shape(state[name])} in the network"
            for name, tensor in weights.items()
            if name in state and name not in new and tensor.shape != state[name].shape
        ),
    ]
    if problems:
        listing = "\n".join(f"  - {problem}" for problem in problems[:8])
        rest = f"\n  and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ConfigError(
            f"{chosen.file} does not fit the network:\n{listing}{rest}\n"
            "Change network_options, or list the beginnings of names that the file does not have in 'new'."
        )
    model.load_state_dict({name: tensor for name, tensor in weights.items() if name not in new}, strict=False)


def _describe_missing(name: str, tensor: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> str:
    return f"it has no '{name}' {_describe_shape(tensor)}{_suggest(name, weights)}"


def _describe_unknown(name: str, state: Mapping[str, torch.Tensor]) -> str:
    return f"the network has no '{name}'{_suggest(name, state)}"


def _suggest(name: str, known: Mapping[str, torch.Tensor]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; the nearest is '{nearest[0]}' {_describe_shape(known[nearest[0]])}" if nearest else ""


def _describe_shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"
