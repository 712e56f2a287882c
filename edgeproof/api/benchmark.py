"""Measure model files from Python."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeproof.api.calls import prepare_call
from edgeproof.api.table import Table

Names = str | Sequence[str]


def bench(
    path: str | Path | Sequence[str | Path],
    *,
    data: str | Path | Mapping[str, Any] | None = None,
    labels: str | None = None,
    metric: str | None = None,
    runtimes: Names | None = None,
    schemes: Names | None = None,
    preset: str = "standard",
    scenarios: Names = ("single_stream", "offline"),
    device: str = "local",
    output: str | None = None,
    name: str | None = None,
) -> Table:
    """Measure a model file, or several, and return their table.

    It does what `edgeproof bench` does and prints nothing but progress. An interrupted call continues where it stopped
    when it is made again within the hour. The tables and records are in results/brought/<name>.

    Args:
        path: a .tflite, .onnx, .xml, .pt2, .keras or .h5 file or a SavedModel, or several of them.
        data: an .npz file, or its arrays by name: the inputs x (N, …) and optionally the labels y (N,). Without data,
            inputs are random and there is no quality.
        labels: an .npy file, or the name of the array with the labels, if it is not y.
        metric: the metric of the quality, such as "macro_f1".
        runtimes, schemes: one or more names. By default the file's own runtime, and four schemes for .pt2 and Keras.
        preset: "quick", "standard", "official" or "official_tiny".
        scenarios: names of scenarios in conf/scenarios.
        device: a device in devices/.
        output: the output to score if a file has several.
        name: the name of the results; by default the first file's name.

    Raises:
        EdgeproofError: an argument, a file or the device does not fit. The message says what was measured.

    Example::

        table = edgeproof.bench("model.tflite", data={"x": inputs, "y": labels}, preset="quick")
    """
    names = {"runtimes": runtimes, "schemes": schemes, "scenarios": scenarios}
    texts = {"device": device, "preset": preset, "labels": labels, "metric": metric, "output": output, "name": name}
    options: dict[str, Any] = {**texts, **{key: _list_names(value) for key, value in names.items()}}
    with prepare_call(), _save_data(data) as data_path:
        from edgeproof.bench import external

        paths = [path] if isinstance(path, str | Path) else path
        results = external.measure_files(
            [Path(each) for each in paths], external.BenchOptions(data=data_path, **options)
        )
    return Table.read(results.directory / "tables")


def _list_names(names: Names | None) -> Sequence[str] | None:
    return [names] if isinstance(names, str) else names


@contextmanager
def _save_data(data: str | Path | Mapping[str, Any] | None) -> Iterator[Path | None]:
    """Yield the path of an .npz file with the data. Equal arrays make equal bytes, so a call can be continued.

    Raises ConfigError for an array of Python objects, which only pickle could save.
    """
    if not isinstance(data, Mapping):
        yield None if data is None else Path(data)
        return
    import numpy as np

    from edgeproof.core.errors import ConfigError

    arrays = {str(key): np.asarray(array) for key, array in data.items()}
    for key, array in arrays.items():
        if array.dtype.hasobject:
            raise ConfigError(f"data['{key}'] holds Python objects. Give an array of numbers, one row a sample.")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "data.npz")
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        yield path
