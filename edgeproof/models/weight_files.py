"""Files of weights that others trained: read them safely, verify them, and check that they fit a network.

Nothing in such a file runs: safetensors holds arrays only, and torch.load() reads with weights_only.
"""

from __future__ import annotations

import difflib
import inspect
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import safetensors
import safetensors.torch
import torch
from pydantic import StringConstraints
from torch import nn

from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ConfigError, DataError

SAFETENSORS = ".safetensors"
PICKLED = (".pt", ".pth", ".bin")
# Escape sequences of a terminal, which torch puts into its messages.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# Keys under which training scripts store the state_dict in a checkpoint, and prefixes that wrappers give its names.
_STATE_KEYS = ("state_dict", "model_state_dict", "model")
_WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.")
_SHOWN_PROBLEMS = 8

Shape = Sequence[int]
# The option that pins a user's file.
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# The next step when a file of weights does not fit the network of the study.
CURE = "Change the network or its network_options, so that it is the network that was trained."


def verify_sha256(path: Path, expected: str, setting: str) -> None:
    """Compare a file with the sha256 that the study names. Raises DataError that prints the value to type.

    `setting` names the option, such as "models.teacher.options.sha256".
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}. Put it there, or change the option that names it.")
    actual = hash_file(path)
    if actual != expected:
        raise DataError(
            f"{path} is not the file that the study names: its sha256 differs from {setting} ({expected[:12]}…). If it "
            f"is the file that you want, write this into the study:\n  sha256: {actual}"
        )


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a .safetensors file, or of a state_dict in a .pt, .pth or .bin file. Raises DataError."""
    if path.suffix.lower() in PICKLED:
        return _read_state_dict(path)
    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, KeyError) as error:
        raise DataError(f"{path} is no safetensors file ({error})") from error
    return tensors


def translate(weights: Mapping[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Rename the tensors with the function of the network. Without one, the names are the network's."""
    translate_weights = getattr(inspect.getmodule(type(model)), "translate_weights", None)
    return dict(weights) if translate_weights is None else translate_weights(weights, model)


def check_fit(
    weights: Mapping[str, Shape], network: Mapping[str, Shape], file: str, cure: str, *, new: Iterable[str] = ()
) -> None:
    """Compare the names and shapes of tensors in a file with those of a network.

    `new` are names of tensors that the file need not have. Raises ConfigError that names each tensor that does not fit
    and the nearest name, and ends with `cure`.
    """
    optional = set(new)
    problems = [
        *(
            f"it has no '{name}' {_describe_shape(shape)}{_suggest(name, weights)}"
            for name, shape in network.items()
            if name not in weights and name not in optional
        ),
        *(f"the network has no '{name}'{_suggest(name, network)}" for name in weights if name not in network),
        *(
            f"'{name}' is {_describe_shape(shape)} in the file and {_describe_shape(network[name])} in the network"
            for name, shape in weights.items()
            if name in network and name not in optional and tuple(shape) != tuple(network[name])
        ),
    ]
    if problems:
        listing = "\n".join(f"  - {problem}" for problem in problems[:_SHOWN_PROBLEMS])
        rest = f"\n  and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
        raise ConfigError(f"{file} does not fit the network:\n{listing}{rest}\n{cure}")


def list_shapes(tensors: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the shape of each tensor or array."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    advice = "Save the state_dict: torch.save(model.state_dict(), 'weights.pt')"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        reason = _COLOURS.sub("", str(error)).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} holds more than tensors, or is damaged ({reason:.200}). {advice}.") from error
    key = next((key for key in _STATE_KEYS if isinstance(content, Mapping) and _has_tensors(content.get(key))), None)
    state = content if key is None else content[key]
    if not _has_tensors(state):
        raise DataError(f"{path} holds no state_dict, which maps names to tensors. {advice}.")
    return _strip_wrapper({str(name): value for name, value in state.items()})


def _has_tensors(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(value, torch.Tensor) for value in content.values())
    )


def _strip_wrapper(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Remove the prefixes that DataParallel, torch.compile and training frameworks put before all names."""
    for prefix in _WRAPPER_PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _suggest(name: str, known: Mapping[str, Shape]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; the nearest is '{nearest[0]}' {_describe_shape(known[nearest[0]])}" if nearest else ""


def _describe_shape(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a number"
