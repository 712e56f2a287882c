"""Score an accuracy run on the host, from the outputs that LoadGen logged on the device."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.errors import DeviceError
from edgeproof.records.kinds import OUTPUTS_FILE
from edgeproof.records.record_parts import AccuracyCount

LOG = "mlperf_log_accuracy.json"

Array = np.ndarray[Any, Any]


def score_outputs(out: Path, labels: Array, score: Callable[[Array, Array], Array], *, keep_log: bool) -> AccuracyCount:
    """Score the accuracy log in the directory `out` and write outputs.npz with the outputs and hits.

    `score` maps outputs (N, values) and labels (N,) to hits (N,). LoadGen's log is deleted unless `keep_log` is set.
    Raises DeviceError for a log that does not hold one finite output a sample.
    """
    log = out / LOG
    try:
        outputs = parse_outputs(json.loads(log.read_text(encoding="utf-8")), len(labels))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeviceError(f"the device's {log.name} is not LoadGen's: {type(error).__name__}: {error}") from None
    if not keep_log:
        log.unlink()
    hits = np.asarray(score(outputs, labels), bool)
    np.savez_compressed(out / OUTPUTS_FILE, outputs=outputs, correct=hits)
    return AccuracyCount(correct=int(hits.sum()), total=len(hits))


def parse_outputs(log: list[Mapping[str, Any]], total: int) -> Array:
    """Return the outputs (total, values) of LoadGen's accuracy log: hex of little-endian float32, in any order.

    Raises DeviceError when a sample is missing, the lengths differ, or a value is not finite.
    """
    rows: dict[int, Array] = {}
    for entry in log:
        rows[int(entry["qsl_idx"])] = np.frombuffer(bytes.fromhex(entry["data"]), "<f4")
    if sorted(rows) != list(range(total)) or len({len(row) for row in rows.values()}) != 1:
        raise DeviceError(f"the accuracy log answers {len(rows)} of {total} samples, or with differing lengths")
    outputs = np.stack([rows[index] for index in range(total)])
    if not np.isfinite(outputs).all():
        raise DeviceError(f"{int((~np.isfinite(outputs)).any(1).sum())} of {total} outputs hold NaN or infinity")
    return outputs
