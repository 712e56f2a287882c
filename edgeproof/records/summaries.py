"""A record as one flat line: what tables, queries and the site need of it, so that they need not open it again.

A line holds the record's identity, verdict and conditions, LoadGen's own figures, and of its raw arrays what cannot be
told later without them: logarithms of percentiles with their intervals within the process, quantiles to draw a
distribution from, and which samples were right. The arrays themselves stay with the record.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeproof.core.errors import ArtifactError
from edgeproof.records import energy, record_files
from edgeproof.records.record_files import Record
from edgeproof.statistics import autocorrelation, percentiles
from edgeproof.statistics.percentiles import LogPercentile

LATENCIES, TELEMETRY, OUTPUTS = "latencies.npz", "telemetry.csv", "outputs.npz"
SINGLE_STREAM, MULTI_STREAM, OFFLINE, SERVER = "SingleStream", "MultiStream", "Offline", "Server"
SUMMARIZED_PERCENTS = (50, 90, 99)
# Enough to draw a distribution with its tail; of more than 1,000 durations the extremes are single calls.
QUANTILE_SHARES = (0.0, *(step / 40 for step in range(1, 40)), 0.99, 0.999, 1.0)
# What a figure depends on and a runtime does not choose. Packages are told apart, since engines differ by purpose.
CONDITIONS = (
    *("cpu", "cores", "memory_bytes", "architecture", "microcode", "smt", "governor", "turbo", "virtualization"),
    *("kernel", "libc", "python"),
)

TELEMETRY_FIGURES = (
    *("waiting_share", "pressure_share", "others_cpus", "steal_cpus", "switches_per_s", "frequency_change"),
    *("temperature_rise_c", "drift"),
)

Array = np.ndarray[Any, Any]


class StoreLine(NamedTuple):
    """One record; a tuple, which is made far faster than any other class where a table needs many.

    Durations are in ns, logarithms natural ones of ns, shares of 1; what is not known is None.
    `session_key` names the session's directory, `session_id` the sitting, `night` the day on which the sitting began.
    `conditions`, `versions`, `options`, `packages`, `lineage`, `fingerprint`, `budget`, `estimate`, `profile` and
    `emulated` are JSON. A line of an emulated device has no figure of time but in `emulated`, so that none is ever
    compared.
    """

    path: str
    session_key: str
    session_id: str
    night: str
    study: str
    task: str
    device: str
    session: int
    preset: str
    runtime: str
    model: str
    scheme: str
    scenario: str
    process: int
    attempt: int
    measured_at: str
    verdict: str
    reasons: tuple[str, ...]
    schema_on_disk: int
    artifact_sha256: str
    model_sha256: str
    method: str
    seed: int | None
    parameters: int | None
    macs: int | None
    weight_sparsity: float | None
    notes: tuple[str, ...] = ()
    disturbed: bool = False
    compliance: str | None = None
    commit_id: str | None = None
    runner: str | None = None
    loadgen_scenario: str | None = None
    parent: str | None = None
    lineage: str | None = None
    network: str | None = None
    teacher: str | None = None
    data_sha256: str | None = None
    options: str | None = None
    packages: str | None = None
    validation_accuracy: float | None = None
    size_bytes: int | None = None
    gzip_bytes: int | None = None
    entropy_coded_bytes: int | None = None
    threads: int | None = None
    cpu: str | None = None
    versions: str | None = None
    conditions: str | None = None
    fingerprint: str | None = None
    load_ns: int | None = None
    first_inference_ns: int | None = None
    peak_rss_bytes: int | None = None
    harness_p50_ns: float | None = None
    loadgen_p50_ns: float | None = None
    multi_stream_p99_ns: float | None = None
    offline_samples_per_s: float | None = None
    server_samples_per_s: float | None = None
    waiting_share: float | None = None
    pressure_share: float | None = None
    others_cpus: float | None = None
    steal_cpus: float | None = None
    switches_per_s: float | None = None
    frequency_change: float | None = None
    temperature_rise_c: float | None = None
    drift: float | None = None
    inferences: int | None = None
    independent_share: float | None = None
    p50_log: float | None = None
    p50_log_low: float | None = None
    p50_log_high: float | None = None
    p90_log: float | None = None
    p90_log_low: float | None = None
    p90_log_high: float | None = None
    p99_log: float | None = None
    p99_log_low: float | None = None
    p99_log_high: float | None = None
    invoke_p50_log: float | None = None
    invoke_p50_log_low: float | None = None
    invoke_p50_log_high: float | None = None
    quantiles_ns: tuple[float, ...] | None = None
    energy_uj: float | None = None
    instructions: int | None = None
    instructions_method: str | None = None
    correct: int | None = None
    npu: str | None = None
    budget: str | None = None
    estimate: str | None = None
    profile: str | None = None
    in_turns: str | None = None
    emulated: str | None = None
    total: int | None = None
    hits: bytes | None = None

    def get_log_percentile(self, name: str) -> LogPercentile | None:
        """One of 'p50', 'p90', 'p99' and 'invoke_p50', or None where the process has too few inferences for it."""
        found = LogPercentile._make(_LOGS[name](self))
        return None if found.value is None else found

    def unpack_hits(self) -> Array | None:
        """Which samples were right, (N,) bool."""
        if self.hits is None or self.total is None:
            return None
        return np.unpackbits(np.frombuffer(self.hits, np.uint8), count=self.total).astype(bool)


_LOGS = {
    name: operator.attrgetter(f"{name}_log", f"{name}_log_low", f"{name}_log_high")
    for name in ("p50", "p90", "p99", "invoke_p50")
}


def summarize_records(found: Iterable[Record], root: Path, *, damaged: list[str] | None = None) -> list[StoreLine]:
    """The records below `root` as lines, in their order.

    All records of a sitting must be among them, since its night is that of the first. One whose content or whose arrays
    are not what they should be raises ArtifactError; where a list of the `damaged` is given, it is told there.
    """
    lines = []
    for record in found:
        try:
            lines.append(_checked(record, root))
        except ArtifactError as error:
            if damaged is None:
                raise
            damaged.append(str(error))
    began: dict[tuple[str, str], str] = {}
    for line in lines:
        sitting = line.session_key, line.session_id
        began[sitting] = min(began.get(sitting, line.night), line.night)
    return [line._replace(night=began[line.session_key, line.session_id]) for line in lines]


def _checked(record: Record, root: Path) -> StoreLine:
    try:
        return _summary(record, root)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{record.directory / record_files.FILE} is damaged: it lacks what a record must tell "
            f"({type(error).__name__}: {error}). Measure again."
        ) from None


def _session_key(record: Record, root: Path) -> str:
    return record.directory.relative_to(root).parts[0]


def _summary(record: Record, root: Path) -> StoreLine:
    content = record.content
    told: dict[str, Any] = {name: content.get(name) for name in ("compliance", "runner")}
    told |= {name: content.get("figures", {}).get(name) for name in TELEMETRY_FIGURES}
    told |= {**_result(content), **_timed(record), "harness_p50_ns": content.get("harness_p50_ns")}
    told |= {name: _json(content.get(name)) for name in ("profile", "in_turns")}
    if content.get("card", {}).get("emulated"):
        told = _emulated(told)
    return StoreLine(
        path=record.directory.as_posix(),
        session_key=_session_key(record, root),
        session_id=str(content["session_id"]),
        night=str(content["measured_at"])[:10],
        reasons=tuple(content["reasons"]),
        schema_on_disk=record.schema,
        commit_id=(content.get("commit") or {}).get("id"),
        disturbed=bool(content.get("disturbed")),
        loadgen_scenario=content.get("job", {}).get("scenario"),
        npu=content.get("card", {}).get("npu"),
        budget=_json(content.get("card", {}).get("budget")),
        estimate=_json(content.get("estimate")),
        **{name: content[name] for name in _IDENTITY},
        **told,
        **_described(content["artifact"]),
        **_accuracy(record),
    )


# What an emulator's clock told, and nothing else did.
OF_TIME = (
    *("load_ns", "first_inference_ns", "harness_p50_ns", "loadgen_p50_ns", "multi_stream_p99_ns", "energy_uj"),
    *("offline_samples_per_s", "server_samples_per_s", "quantiles_ns", "independent_share", "profile", "in_turns"),
    *TELEMETRY_FIGURES,
    *(f"{name}_log{end}" for name in ("p50", "p90", "p99", "invoke_p50") for end in ("", "_low", "_high")),
)


def _emulated(told: Mapping[str, Any]) -> dict[str, Any]:
    """A record's figures without those of time, whose percentiles stay apart under names of their own."""
    logs = {f"p{percent}_ns": told.get(f"p{percent}_log") for percent in SUMMARIZED_PERCENTS}
    apart = {name: math.exp(log) for name, log in logs.items() if log is not None}
    return {**{name: value for name, value in told.items() if name not in OF_TIME}, "emulated": _json(apart)}


_IDENTITY = (
    *("study", "task", "device", "session", "preset", "runtime", "model", "scheme", "scenario", "process", "attempt"),
    *("measured_at", "verdict"),
)


def _described(artifact: Mapping[str, Any]) -> dict[str, Any]:
    model = artifact["model"]
    lineage = model["lineage"]
    teachers = [of["name"] for role, of in lineage.items() if role.startswith("teacher")]
    return {
        "artifact_sha256": artifact["sha256"],
        "notes": tuple(artifact.get("notes", ())),
        "size_bytes": artifact.get("size_bytes"),
        "gzip_bytes": artifact.get("gzip_bytes"),
        "packages": _json(artifact.get("packages")),
        "model_sha256": model.get("sha256", ""),
        "method": model["method"],
        "options": _json(model.get("options")),
        "parent": lineage.get("parent", {}).get("name"),
        "lineage": _json(lineage),
        "network": (model.get("network") or {}).get("name"),
        "teacher": " + ".join(teachers) or None,
        **{name: model[name] for name in ("seed", "parameters", "macs", "weight_sparsity")},
        **{name: model.get(name) for name in ("entropy_coded_bytes", "validation_accuracy", "data_sha256")},
    }


def _result(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a run that ended told of itself; nothing of one that failed."""
    counted = content.get("instructions") or {}
    told: dict[str, Any] = {
        "instructions": counted.get("per_inference"),
        "instructions_method": counted.get("method"),
    }
    result = content.get("result", {})
    if result.get("status") != "done":
        return told
    log, fingerprint = result["loadgen"], result["fingerprint"]
    conditions = {
        **{name: fingerprint.get(name) for name in CONDITIONS if name in fingerprint},
        "threads": result["threads"],
        "preset": content["preset"],
        "task": content["task"],
        "settings": content["job"].get("settings", {}),
    }
    return told | {
        "threads": result["threads"],
        "cpu": fingerprint["cpu"],
        "versions": _json(result["versions"]),
        "conditions": _json(conditions),
        "fingerprint": _json(fingerprint),
        "load_ns": result["load_ns"],
        "first_inference_ns": result["first_inference_ns"],
        "peak_rss_bytes": result["peak_rss_bytes"],
        "loadgen_p50_ns": log.get("result_50.00_percentile_latency_ns"),
        "multi_stream_p99_ns": log.get("result_99.00_percentile_per_query_latency_ns"),
        "offline_samples_per_s": log.get("result_samples_per_second"),
        "server_samples_per_s": log.get("result_completed_samples_per_sec"),
    }


def _accuracy(record: Record) -> dict[str, Any]:
    if record.content["scenario"] != record_files.ACCURACY or record.verdict != "valid":
        return {}
    hits = record.array(OUTPUTS, "correct")
    return {**record.content["accuracy"], "hits": np.packbits(hits).tobytes()}


def _timed(record: Record) -> dict[str, Any]:
    """Of a valid single-stream run its percentiles, distribution and energy."""
    content = record.content
    timed = content.get("job", {}).get("scenario") == SINGLE_STREAM and content["scenario"] != record_files.ACCURACY
    if not timed or record.verdict != "valid" or content["runtime"] == "null" or content.get("compliance"):
        return {}
    calls = record.array(LATENCIES, "call_ns")
    told: dict[str, Any] = {
        "inferences": len(calls),
        "independent_share": autocorrelation.estimate_effective_samples(calls, 0.5) / len(calls),
        "quantiles_ns": tuple(float(value) for value in np.quantile(calls, QUANTILE_SHARES)),
        "energy_uj": _energy_uj(record, len(calls)),
    }
    of = {f"p{percent}": (calls, percent) for percent in SUMMARIZED_PERCENTS}
    of["invoke_p50"] = record.array(LATENCIES, "invoke_ns"), 50
    for name, (durations, percent) in of.items():
        found = percentiles.estimate_log_percentile(durations, percent)
        if found is not None:
            told |= {f"{name}_log": found.value, f"{name}_log_low": found.low, f"{name}_log_high": found.high}
    return told


def _energy_uj(record: Record, inferences: int) -> float | None:
    """Energy of one inference, from the counter's samples over LoadGen's power window; None without a counter."""
    if record.content["result"].get("energy_method") is None:
        return None
    log = record.content["result"]["loadgen"]
    return energy.integrate_energy_uj(record.file(TELEMETRY), log, inferences=inferences)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
