"""Small trees of records on disk, as a bench session writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.loadgen_log import DETAIL_LOG
from edgeproof.records import record_files
from edgeproof.records.kinds import EVIDENCE_FILE
from edgeproof.records.record import Record
from edgeproof.records.record_parts import QualityResult
from edgeproof.statistics import bootstrap, proportions
from edgeproof.statistics.metric import CORRECT, count_units

LOADGEN = {
    "single_stream": "SingleStream",
    "multi_stream": "MultiStream",
    "offline": "Offline",
    "server": "Server",
    "accuracy": "SingleStream",
}


def write(
    root: Path,
    scenario: str = "single_stream",
    *,
    device: str = "local",
    runtime: str = "onnx",
    model: str = "teacher",
    scheme: str = "fp32",
    process: int = 0,
    call_ns: Sequence[int] | np.ndarray | None = None,
    correct: Sequence[bool] | np.ndarray | None = None,
    metric: str = "accuracy",
    evidence: Mapping[str, np.ndarray] | None = None,
    log: Mapping[str, Any] | None = None,
    verdict: str = "valid",
    reasons: Sequence[str] = (),
    session_of: str | None = None,
    result: Mapping[str, Any] | None = None,
    artifact: Mapping[str, Any] | None = None,
    described: Mapping[str, Any] | None = None,
    job: bool = True,
    **changes: Any,
) -> Path:
    """Write one record below `root` in the session directory of `session_of` (by default device and runtime).

    `correct` is the evidence of an accuracy, `evidence` that of any other metric.
    """
    session = f"{device}_{session_of or runtime}"
    directory = root / session / runtime / f"{model}.{scheme}" / f"{scenario}.{process}"
    directory.mkdir(parents=True)
    content: dict[str, Any] = {
        "study": "study",
        "task": "task",
        "device": device,
        "session": 1,
        "session_id": f"{session} today",
        "runtime": runtime,
        "model": model,
        "scheme": scheme,
        "scenario": scenario,
        "process": process,
        "attempt": 0,
        "preset": "standard",
        "measured_at": "2026-01-02T03:04:05+00:00",
        "verdict": verdict,
        "reasons": list(reasons),
        "artifact": {
            "sha256": f"{runtime}/{model}/{scheme}",
            "size_bytes": 2048,
            "gzip_bytes": 1024,
            **(artifact or {}),
            "model": {
                "method": "train",
                "lineage": {},
                "seed": 0,
                "parameters": 1234,
                "macs": 56789,
                "weight_sparsity": 0.25,
                **(described or {}),
            },
        },
        **changes,
    }
    if job:
        content["job"] = {"scenario": LOADGEN[scenario]}
        content["result"] = {
            "status": "error" if verdict == "error" else "done",
            "loadgen": dict(log or {}),
            "load_ns": 5_000_000,
            "first_inference_ns": 300_000,
            "peak_rss_bytes": 64 * 2**20,
            "threads": 1,
            "fingerprint": {"cpu": "A Processor"},
            "versions": {"numpy": "2.0"},
            **(result or {}),
        }
        if verdict != "error":
            write_detail_log(directory, content["result"]["loadgen"])
    if call_ns is not None:
        durations = np.asarray(call_ns, np.uint64)
        started = np.concatenate([np.zeros(1, np.uint64), np.cumsum(durations)[:-1]])
        invoke = np.maximum(durations * 9 // 10, 1)
        np.savez_compressed(directory / "latencies.npz", call_ns=durations, invoke_ns=invoke, started_ns=started)
    if correct is not None:
        evidence = {CORRECT: np.asarray(correct, bool)}
    if evidence is not None:
        np.savez_compressed(directory / EVIDENCE_FILE, **dict(evidence))
        content["quality"] = describe_quality(metric, evidence)
    record_files.write_content(directory, content)
    return directory


def describe_quality(metric: str, evidence: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the quality that a record with this evidence holds."""
    plugin = plugins.load("metrics", metric)
    units = count_units(evidence)
    if plugin.METRIC.is_proportion:
        estimate = proportions.estimate_proportion(int(evidence[CORRECT].sum()), units)
    else:
        estimate = bootstrap.estimate_quality(plugin.compute, evidence)
    return asdict(QualityResult.build(metric, plugin.METRIC, estimate, units))


def count_correct(record: Record) -> tuple[int | None, int]:
    """Return the correct and all samples of an accuracy run."""
    assert record.quality is not None
    return record.quality.correct, record.quality.units


def write_detail_log(directory: Path, log: Mapping[str, Any]) -> None:
    """Write LoadGen's detail log with the given values."""
    lines = [f":::MLLOG {json.dumps({'key': key, 'value': value})}\n" for key, value in log.items()]
    (directory / DETAIL_LOG).write_text("".join(["a log\n", *lines]))


def write_unsupported(root: Path, reason: str, **identity: Any) -> Path:
    """Write the record of an artifact that its runtime does not support."""
    changes = {"artifact": {"size_bytes": None, "gzip_bytes": None}, "job": False, **identity}
    directory = write(root, "single_stream", verdict="unsupported", reasons=[reason], **changes)
    return directory.rename(directory.with_name("unsupported.0"))


def write_interleaved(root: Path, log_ratio: float, process: int, **identity: Any) -> Path:
    """Write the record of one interleaved run of an artifact and good/fp32."""
    comparison = {"model": "good", "scheme": "fp32", "pairs": 500, "log_ratio": log_ratio}
    result = {"threads": 1, "fingerprint": {"cpu": "A Processor"}, "versions": {"numpy": "2.0"}}
    changes = {"order": process, "in_turns": comparison, "job": False, **identity}
    place = write(root, "in_turns", process=process, **changes)
    record_files.write_content(place, {**record_files.read(place).content, "result": result})
    return place
