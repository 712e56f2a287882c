"""Load a user's files of weights into a keras.Model. Importing Keras takes seconds."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from edgeproof.core.errors import ConfigError, DataError, summarize_error
from edgeproof.models import keras_models, weight_files

_WEIGHTS_IN_ARCHIVE = "model.weights.h5"
# The groups of a file that hold no weights of layers.
_OTHER_GROUPS = ("optimizer", "metrics", "trainer")


def load_named(model: Any, weights: Mapping[str, Any], path: Path, cure: str) -> None:
    """Load arrays by the paths of the variables, such as stem/kernel. Raises ConfigError for arrays that do not fit."""
    own = keras_models.read_weights(model)
    weight_files.check_fit(weight_files.list_shapes(weights), weight_files.list_shapes(own), path.name, cure)
    keras_models.load_weights(model, {name: tensor.numpy() for name, tensor in weights.items()}, path)


def load_file(model: Any, path: Path, cure: str) -> None:
    """Load a .keras or .weights.h5 file. The configuration in a .keras file is not read, so no code of it runs.

    Keras stores layers by their kind and order, so the names are not compared. Raises DataError for a damaged file, and
    ConfigError for another number of weights or other shapes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        weights = _unpack(path, Path(scratch)) if path.suffix == ".keras" else path
        stored = count_weights(weights)
        own = len(keras_models.read_weights(model))
        if stored != own:
            raise ConfigError(
                f"{path.name} does not fit the network: it has {stored} arrays of weights, and the network has {own}. "
                f"{cure}"
            )
        try:
            model.load_weights(str(weights))
        except (ValueError, KeyError, OSError, TypeError) as error:
            reason = summarize_error(error)
            raise ConfigError(f"{path.name} does not fit the network: {reason:.300} {cure}") from error


def count_weights(path: Path) -> int:
    """Return the number of arrays of layers in a .weights.h5 file. Raises DataError for another file."""
    arrays: list[str] = []

    def note(name: str, entry: Any) -> None:
        is_layer = name.partition("/")[0] not in _OTHER_GROUPS and "seed_generator" not in name
        if isinstance(entry, h5py.Dataset) and is_layer:
            arrays.append(name)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(note)
    except OSError as error:
        raise DataError(
            f"{path.name} is no file of Keras weights ({error}). Write one: model.save_weights(…)"
        ) from error
    return len(arrays)


def _unpack(path: Path, scratch: Path) -> Path:
    """Return the weights inside a .keras file. Raises DataError."""
    target = scratch / _WEIGHTS_IN_ARCHIVE
    try:
        with zipfile.ZipFile(path) as archive:
            target.write_bytes(archive.read(_WEIGHTS_IN_ARCHIVE))
    except (OSError, KeyError, zipfile.BadZipFile, RuntimeError) as error:
        raise DataError(f"{path.name} is no .keras file ({error}). Write one: model.save('model.keras')") from error
    return target
