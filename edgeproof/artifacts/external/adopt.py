"""Build artifacts from an external file, with the same content as those of a study's models."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgeproof.artifacts import conversion
from edgeproof.artifacts.child_process import Caller, ChildFailure, call_here
from edgeproof.artifacts.external import files, first_inference, inputs
from edgeproof.artifacts.external.files import ExternalFile
from edgeproof.artifacts.external.first_inference import FirstInference
from edgeproof.artifacts.external.guards import describe_error
from edgeproof.artifacts.external.inputs import ExternalData
from edgeproof.artifacts.isolation import describe_converter_failure
from edgeproof.config import packages
from edgeproof.core.artifacts import ExportResult, ModelInterface
from edgeproof.core.directories import write_atomically, write_meta
from edgeproof.core.errors import ConfigError, EdgeproofError, Unsupported, summarize_error
from edgeproof.core.ports import Port
from edgeproof.data.samples import Samples
from edgeproof.records.kinds import EXTERNAL_METHOD

# Facts of a model that an external file may not contain. They are None unless ExternalFile.describe_model() has them.
UNKNOWN_FACTS = (
    "seed",
    "parameters",
    "macs",
    "weight_sparsity",
    "entropy_coded_bytes",
    "validation_quality",
    "network",
    "data_sha256",
)
CALIBRATION_SAMPLES = 256

Array = np.ndarray[Any, Any]
Result = TypeVar("Result")


def build_artifacts(
    file: ExternalFile,
    runtime: str,
    schemes: Sequence[str],
    *,
    data: ExternalData | None,
    output: str | None,
    out_dir: Path,
    call: Caller = call_here,
) -> Samples:
    """Export a file for a runtime to out_dir/<scheme>, run each artifact once, and return the samples to feed it.

    `output` names the output to score, which is the first one if it is None. Without `data` the samples are random.
    `call` calls the functions that read the file, convert it and run it. With that of a ChildProcess, a scheme whose
    process crashes or never ends is unsupported. Raises ConfigError if the file, the data or the output does not fit.
    """
    path = str(file.path)
    versions = packages.pin(file.packages)
    packages.require(versions)
    interface = _call_reader(call, f"{path} can't be read by {runtime}", file.read_interface, runtime)
    files.require_inputs(interface, path)
    output_index = files.select_output(interface, output, path)
    shapes = inputs.infer_input_shapes(interface.inputs, data, path)
    samples = inputs.prepare_samples(interface.inputs, shapes, data, path)
    ports, names = _describe_inputs(interface, shapes), _name_outputs(interface, output_index)
    facts = _call_reader(call, f"{path} can't be described", file.describe_model, ports)
    origin = {"runtime": runtime, "model": {**_describe_origin(file, data), **facts}, "packages": versions}
    calibration = _select_calibration(samples.inputs)
    with write_atomically(out_dir) as out:
        for scheme in schemes:
            started = time.monotonic()
            directory = out / scheme
            directory.mkdir()
            options: dict[str, Any] = {"shapes": shapes, "output": output_index, "out_dir": directory}
            convert = functools.partial(file.export, runtime, scheme, calibration, **options)
            outcome = _run_converter(call, f"exporting {path} to {runtime} as {scheme}", runtime, convert)
            meta = conversion.describe_files(directory, outcome)
            if "unsupported" not in meta:
                conversion.save_arrays(directory, "samples", [x[: conversion.STORED_SAMPLES] for x in samples.inputs])
                first = _run_first_inference(call, path, runtime, directory, samples.inputs, names)
                if isinstance(first, Unsupported):
                    meta["unsupported"] = str(first)
                else:
                    meta |= {"inputs": [port.to_json() for port in ports], **first.to_meta()}
                    meta["notes"] += first.describe()
                    meta["notes"] += _describe_measurement(scheme, interface, output_index, data, len(calibration[0]))
            write_meta(directory, {**meta, **origin, "scheme": scheme})
            conversion.print_outcome(path, runtime, scheme, meta, time.monotonic() - started)
    return samples


def name_task(data: ExternalData | None) -> str:
    """Return the task's name in records. It depends on the inputs, so runs with different inputs are never compared."""
    return inputs.RANDOM_INPUTS if data is None else data.description


def _call_reader(call: Caller, failure: str, read: Callable[..., Result], *arguments: Any) -> Result:
    """Return what a reader of the file returns. Raises ConfigError, whose message begins with `failure`."""
    try:
        return call(read, *arguments)
    except ChildFailure as error:
        raise ConfigError(f"{failure}: the reader {error}.") from None


def _run_converter(
    call: Caller, task: str, runtime: str, convert: Callable[[], ExportResult]
) -> ExportResult | Unsupported:
    """Run a converter. A failure counts as unsupported, because other schemes may still succeed.

    Raises ConfigError if the file itself does not fit.
    """
    try:
        return call(_convert, task, convert)
    except ChildFailure as failure:
        return Unsupported(describe_converter_failure(runtime, failure))


def _convert(task: str, convert: Callable[[], ExportResult]) -> ExportResult | Unsupported:
    """Run a converter in this process. Return its failure, but raise ConfigError."""
    try:
        return conversion.run_converter(task, convert)
    except ConfigError:
        raise
    except EdgeproofError as error:
        if error.__cause__ is not None:
            return Unsupported(f"{task} failed: {describe_error(error.__cause__)}")
        return Unsupported(summarize_error(error))


def _run_first_inference(
    call: Caller, path: str, runtime: str, directory: Path, samples: tuple[Array, ...], names: Sequence[str]
) -> FirstInference | Unsupported:
    """Run the first inference. Return Unsupported if the engine lacks an operator, never runs here, or crashes."""
    some = tuple(array[: first_inference.MAX_SAMPLES] for array in samples)
    try:
        return call(first_inference.run, path, runtime, directory, some, names)
    except ChildFailure as failure:
        return Unsupported(f"the first inference in {runtime} {failure}")
    except Unsupported as reason:
        return reason


def _describe_inputs(interface: ModelInterface, shapes: Sequence[Sequence[int]]) -> list[Port]:
    """Return the ports of the inputs that a session is fed."""
    specs = zip(interface.inputs, shapes, strict=True)
    return [Port(spec.name, tuple(shape[1:]), inputs.choose_dtype(spec)) for spec, shape in specs]


def _name_outputs(interface: ModelInterface, output_index: int) -> list[str]:
    """Return the names of the outputs that a session fetches, the one to score first."""
    order = files.move_to_front(output_index, len(interface.outputs))
    specs = [interface.outputs[index] for index in order]
    return [spec.name for spec in specs if spec.dtype in files.OUTPUT_DTYPES]


def _select_calibration(samples: tuple[Array, ...]) -> tuple[Array, ...]:
    """Select at most CALIBRATION_SAMPLES samples at even distances, because samples may be sorted by label."""
    count = min(len(samples[0]), CALIBRATION_SAMPLES)
    selection = np.linspace(0, len(samples[0]) - 1, count).astype(int)
    return tuple(array[selection] for array in samples)


def _describe_measurement(
    scheme: str, interface: ModelInterface, output_index: int, data: ExternalData | None, calibration_count: int
) -> list[str]:
    """Return the remarks about outputs, calibration and quality that a reader of the table needs."""
    notes = []
    if len(interface.outputs) > 1:
        notes.append(f"output '{interface.outputs[output_index].name}' of {len(interface.outputs)}")
    if "-static" in scheme:
        notes.append(
            f"calibrated with {calibration_count} {'random inputs' if data is None else 'of the inputs measured'}"
        )
    if data is None:
        notes.append(f"no quality: {inputs.RANDOM_INPUTS}")
    elif data.y is None:
        notes.append(f"no quality: {data.path.name} has no y")
    return notes


def _describe_origin(file: ExternalFile, data: ExternalData | None) -> dict[str, Any]:
    """Return a model's facts under the keys that an export of a study's model writes."""
    sha256 = file.hash_content()
    return {
        **dict.fromkeys(UNKNOWN_FACTS),
        "name": file.name,
        "task": name_task(data),
        "method": EXTERNAL_METHOD,
        "options": {},
        "lineage": {"parent": {"name": file.path.name, "sha256": sha256}},
        "sha256": sha256,
    }
