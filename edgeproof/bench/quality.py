"""Score an accuracy run on the host, from the outputs that LoadGen logged on the device."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.artifacts import read_outputs
from edgeproof.core.errors import DataError, DeviceError
from edgeproof.core.ports import Port
from edgeproof.data.samples import Samples
from edgeproof.data.task_quality import TaskQuality
from edgeproof.records.kinds import EVIDENCE_FILE, OUTPUTS_FILE
from edgeproof.records.record_parts import QualityResult
from edgeproof.statistics import bootstrap
from edgeproof.statistics.metric import CORRECT, Evidence, count_units
from edgeproof.statistics.proportions import estimate_proportion

LOG = "mlperf_log_accuracy.json"

Array = np.ndarray[Any, Any]


def list_output_ports(meta: Mapping[str, Any], task: str | None) -> tuple[Port, ...]:
    """Return the ports of a response: those of the task whose postprocess() ran on the device, or the artifact's.

    They are empty for an artifact that names none, or whose outputs differ in size from sample to sample.
    """
    if task is not None:
        postprocessed: tuple[Port, ...] = plugins.load("tasks", task).POSTPROCESSED
        return postprocessed
    return () if meta.get("output_size_varies") else read_outputs(meta)


def score_outputs(
    out: Path, samples: Samples, quality: TaskQuality, ports: Sequence[Port], *, keep_log: bool
) -> QualityResult:
    """Score the accuracy log in the directory `out`, and write outputs.npz and evidence.npz.

    LoadGen's log is deleted unless `keep_log` is set. Raises DeviceError for a log that does not hold finite outputs of
    every sample, and for outputs that the metric cannot score.
    """
    assert samples.targets is not None
    log = out / LOG
    try:
        outputs = parse_outputs(json.loads(log.read_text(encoding="utf-8")), len(samples), ports)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DeviceError(f"the device's {log.name} is not LoadGen's: {type(error).__name__}: {error}") from None
    if not keep_log:
        log.unlink()
    names = ["outputs"] if len(outputs) == 1 else [f"outputs_{number}" for number in range(len(outputs))]
    _save(out / OUTPUTS_FILE, dict(zip(names, outputs, strict=True)))
    try:
        evidence = quality.collect(samples.inputs, outputs, samples.targets)
        result = estimate_quality(quality, evidence)
    except DataError as error:
        raise DeviceError(f"the outputs can't be scored by {quality.name}: {error}") from None
    _save(out / EVIDENCE_FILE, evidence)
    return result


def estimate_quality(quality: TaskQuality, evidence: Evidence) -> QualityResult:
    """Return the quality of some evidence with its interval. Raises DataError if it is undefined."""
    try:
        units = count_units(evidence)
    except (TypeError, ValueError) as error:
        raise DataError(str(error)) from None
    if quality.metric.is_proportion:
        quality.compute(evidence)  # raises for evidence that is no proportion
        estimate = estimate_proportion(int(evidence[CORRECT].sum()), units)
    else:
        estimate = bootstrap.estimate_quality(quality.compute, evidence)
    return QualityResult.build(quality.name, quality.metric, estimate, units)


def parse_outputs(log: Sequence[Mapping[str, Any]], total: int, ports: Sequence[Port]) -> tuple[Array, ...]:
    """Return the outputs (total, *shape) in LoadGen's accuracy log, one array for each port.

    A response is hex of all outputs one after another, little-endian and in C order. Without ports it is one output of
    float32. Raises DeviceError when a sample is missing, a response has another length, or a float is not finite.
    """
    rows = {int(entry["qsl_idx"]): bytes.fromhex(entry["data"]) for entry in log}
    lengths = {len(row) for row in rows.values()}
    if sorted(rows) != list(range(total)) or len(lengths) != 1:
        raise DeviceError(f"the accuracy log answers {len(rows)} of {total} samples, or with differing lengths")
    (length,) = lengths
    ports = ports or (Port("output", (max(1, length // 4),)),)
    expected = sum(_count_bytes(port) for port in ports)
    if length != expected:
        raise DeviceError(f"the accuracy log answers with {length} bytes a sample, and the outputs have {expected}")
    table = np.frombuffer(b"".join(rows[index] for index in range(total)), np.uint8).reshape(total, length)
    outputs, start = [], 0
    for port in ports:
        columns = np.ascontiguousarray(table[:, start : start + _count_bytes(port)])
        outputs.append(columns.view(np.dtype(port.dtype).newbyteorder("<")).reshape(total, *port.shape))
        start += _count_bytes(port)
    for port, output in zip(ports, outputs, strict=True):
        _require_finite(port, output)
    return tuple(outputs)


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    np.savez_compressed(path, **arrays)


def _require_finite(port: Port, output: Array) -> None:
    if output.dtype.kind == "f":
        finite = np.isfinite(output.reshape(len(output), -1)).all(axis=1)
        if not finite.all():
            raise DeviceError(
                f"{int((~finite).sum())} of {len(output)} outputs hold NaN or infinity (output '{port.name}')"
            )


def _count_bytes(port: Port) -> int:
    return math.prod(port.shape) * np.dtype(port.dtype).itemsize
