"""From a brought file to artifact directories like those of a study."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.artifacts import conversion
from edgeproof.artifacts.external import files, inputs
from edgeproof.artifacts.external.files import ExternalFile
from edgeproof.artifacts.external.inputs import ExternalData
from edgeproof.bench.session import Samples
from edgeproof.config import packages
from edgeproof.core import plugins
from edgeproof.core.artifacts import ExportResult, ModelInterface
from edgeproof.core.directories import write_atomically, write_meta
from edgeproof.core.errors import ConfigError, EdgeproofError, Unsupported
from edgeproof.records.record_files import EXTERNAL_METHOD

UNKNOWN = (
    "seed",
    "parameters",
    "macs",
    "weight_sparsity",
    "entropy_coded_bytes",
    "validation_accuracy",
    "network",
    "data_sha256",
)
CALIBRATION_SAMPLES = 256
KEPT_SAMPLES = 8

Array = np.ndarray[Any, Any]


def build_artifacts(
    brought: ExternalFile, runtime: str, schemes: Sequence[str], *, data: ExternalData | None, output: str | None, out_dir: Path
) -> Samples:
    """Lower a file for a runtime into out_dir/<scheme>, and run it once here; returns what it is to be fed.

    Raises ConfigError for a file, data or an output that does not fit.
    """
    where = str(brought.path)
    pinned = packages.pin(brought.packages)
    packages.require(pinned)
    interface = brought.read_interface(runtime)
    port = files.select_input(interface, where)
    place = files.select_output(interface, output, where)
    shape = inputs.infer_input_shape(port, data, where)
    samples = inputs.prepare_samples(port, shape, data, where)
    calibration = _evenly(samples.inputs)
    model = {**_lineage(brought, data), **brought.describe_model(shape)}
    with write_atomically(out_dir) as out:
        for scheme in schemes:
            started = time.monotonic()
            directory = out / scheme
            directory.mkdir()
            lower = functools.partial(
                brought.export, runtime, scheme, calibration, input_shape=shape, output=place, out_dir=directory
            )
            meta = conversion.describe_files(directory, _outcome(f"lowering {where} to {runtime} as {scheme}", lower))
            if "unsupported" not in meta:
                np.save(directory / "samples.npy", samples.inputs[:KEPT_SAMPLES])
                meta["output_shape"] = _answered(brought, runtime, directory, samples)
                meta["notes"] += _notes(scheme, interface, place, data, len(calibration))
                inputs.check_labels(samples.labels, meta["output_shape"], where)
            write_meta(directory, {**meta, "runtime": runtime, "scheme": scheme, "model": model, "packages": pinned})
            _say(brought, runtime, scheme, meta, time.monotonic() - started)
    return samples


def name_task(data: ExternalData | None) -> str:
    """What records call what was fed: measurements with other inputs are unlike."""
    return inputs.RANDOM if data is None else data.description


def _outcome(what: str, lower: Callable[[], ExportResult]) -> ExportResult | Unsupported:
    """A scheme that a converter can't do is a row with its reason; others may work."""
    try:
        return conversion.run_converter(what, lower)
    except ConfigError:
        raise
    except EdgeproofError as error:
        return Unsupported(str(error).splitlines()[0])


def _answered(brought: ExternalFile, runtime: str, directory: Path, samples: Samples) -> list[int]:
    """The shape of the answer to one sample, from this machine's own engine."""

    def answer() -> Array:
        session = plugins.load("runtimes", runtime).Session(directory, threads=1)
        found: Array = session(samples.inputs[:1])
        return found

    return list(files.run_on_external(f"{brought.path} can't be run by {runtime}", answer).shape)


def _evenly(samples: Array) -> Array:
    """At most so many samples as calibration takes, from all over them: they may be sorted by label."""
    count = min(len(samples), CALIBRATION_SAMPLES)
    found: Array = samples[np.linspace(0, len(samples) - 1, count).astype(int)]
    return found


def _notes(scheme: str, interface: ModelInterface, place: int, data: ExternalData | None, calibrated: int) -> list[str]:
    """What a reader of the table must know of how the file was measured."""
    notes = []
    if len(interface.outputs) > 1:
        notes.append(f"output '{interface.outputs[place].name}' of {len(interface.outputs)}")
    if scheme.startswith("int8-static"):
        notes.append(f"calibrated with {calibrated} {'random inputs' if data is None else 'of the inputs measured'}")
    if data is None:
        notes.append(f"no accuracy: {inputs.RANDOM}")
    elif data.y is None:
        notes.append(f"no accuracy: {data.path.name} has no y")
    return notes


def _lineage(brought: ExternalFile, data: ExternalData | None) -> dict[str, Any]:
    """A model's facts as an export writes them; what nobody knows of a foreign file is None."""
    unknown = dict.fromkeys(UNKNOWN)
    sha256 = brought.hash_content()
    lineage = {"parent": {"name": brought.path.name, "sha256": sha256}}
    known = {"name": brought.name, "task": name_task(data), "method": EXTERNAL_METHOD, "options": {}, "lineage": lineage}
    return {**unknown, **known, "sha256": sha256}


def _say(brought: ExternalFile, runtime: str, scheme: str, meta: dict[str, Any], seconds: float) -> None:
    what = f"unsupported: {meta['unsupported']}" if "unsupported" in meta else f"{meta['size_bytes']:,} bytes"
    print(f"  {brought.path} → {runtime} {scheme}: {what} ({seconds:.1f} s)", file=sys.stderr)
