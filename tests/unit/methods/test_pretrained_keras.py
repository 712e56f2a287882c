"""The method pretrained_keras: weights in each format of Keras are those of the file, and no code of it runs."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from edgeproof.core.errors import ConfigError, DataError
from edgeproof.methods import pretrained_keras
from edgeproof.models import keras_models
from edgeproof.models.model_files import NetworkSpec
from tests.support.method_inputs import make_task
from tests.support.training_tasks import make_ports

SHAPE = (3, 8, 8)


def build(widths: list[int]) -> Any:
    return NetworkSpec("keras_resnet8", {"widths": widths, "stem_stride": 2}, *make_ports(SHAPE, 4)).build()


@pytest.fixture(scope="module")
def source() -> Any:
    """Return a model whose every variable differs from those of a new one."""
    model = build([4, 6])
    random = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return model


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "a.keras": lambda model, path: model.save(path),
    "a.weights.h5": lambda model, path: model.save_weights(path),
    "a.safetensors": lambda model, path: safetensors.numpy.save_file(keras_models.read_weights(model), path),
}


def load(path: Path, widths: list[int]) -> Any:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return pretrained_keras.apply(build(widths), make_task(), weights=str(path), sha256=sha256)


@pytest.mark.parametrize("name", WRITERS)
def test_weights_are_those_of_the_file_and_another_network_is_refused(name: str, source: Any, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](source, path)
    loaded, expected = keras_models.read_weights(load(path, [4, 6])), keras_models.read_weights(source)
    assert loaded.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_array_equal(loaded[key], values)
    for widths in ([4, 8], [4, 6, 6]):
        with pytest.raises(ConfigError, match=r"(?s)does not fit the network.*network_options"):
            load(path, widths)


def test_a_configuration_inside_a_keras_file_is_never_read(source: Any, tmp_path: Path) -> None:
    source.save(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as old, zipfile.ZipFile(tmp_path / "b.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"no JSON" if name == "config.json" else old.read(name))
    load(tmp_path / "b.keras", [4, 6])


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5", "a.safetensors"])
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"a\.(keras|weights\.h5|safetensors) is no "):
        load(tmp_path / name, [4, 6])


def test_another_file_is_refused(source: Any, tmp_path: Path) -> None:
    source.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(DataError, match="differs from the option 'sha256'"):
        pretrained_keras.apply(build([4, 6]), make_task(), weights=str(tmp_path / "a.weights.h5"), sha256="0" * 64)
