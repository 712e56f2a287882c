"""From records to rows: one row an artifact and device, every figure computed here and none typed."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import records
from edgeproof.core.records import Record

from . import budgets, energy, statistics
from .budgets import Gate
from .statistics import Estimate

# Chance that one of all comparisons between runtimes is a false alarm.
DISAGREEMENT_ALPHA = 0.01
# By how much the accuracy of one scheme may differ between runtimes, whose quantizers make different models of it.
SAME_POINTS, SAME_POINTS_INT4 = 0.01, 0.05
FLOATING = ("fp32", "fp16")
SCHEMES = (
    *FLOATING,
    "bf16",
    "int8-weights",
    "int4-weights",
    "int8-dynamic",
    "int8-static",
    "int8-static-percentile",
    "int8-static-mse",
    "int8-static-entropy",
    "int8-static-tensor",
    "int8-qat",
)
LATENCIES, TELEMETRY = "latencies.npz", "telemetry.csv"
SINGLE_STREAM, MULTI_STREAM, OFFLINE, SERVER = "SingleStream", "MultiStream", "Offline", "Server"

Array = np.ndarray[Any, Any]
Key = tuple[str, str, str, str]  # device, runtime, model, scheme


@dataclass(frozen=True)
class Row:
    """One artifact on one device. A figure that was not measured, or whose run was refused, is None.

    With `npu`, the device is simulated and has no figures but `estimate`, which its compiler made.
    """

    device: str
    runtime: str
    model: str
    scheme: str
    method: str
    parent: str | None
    teacher: str | None
    verdict: str
    reasons: tuple[str, ...]
    parameters: int | None
    macs: int | None
    weight_sparsity: float | None
    artifact_sha256: str
    notes: tuple[str, ...] = ()
    size_bytes: int | None = None
    gzip_bytes: int | None = None
    entropy_coded_bytes: int | None = None
    accuracy: Estimate | None = None
    accuracy_difference: Estimate | None = None
    seed_accuracies: Mapping[int, float] | None = None
    p50_ns: Estimate | None = None
    p90_ns: Estimate | None = None
    p99_ns: Estimate | None = None
    p50_between: float | None = None
    p50_within: float | None = None
    independent_share: float | None = None
    invoke_p50_ns: Estimate | None = None
    energy_uj: Estimate | None = None
    instructions: int | None = None
    instructions_method: str | None = None
    speed_up: Estimate | None = None
    harness_p50_ns: Estimate | None = None
    load_ns: Estimate | None = None
    first_inference_ns: Estimate | None = None
    peak_rss_bytes: int | None = None
    offline_samples_per_s: Estimate | None = None
    multi_stream_p99_ns: Estimate | None = None
    server_samples_per_s: Estimate | None = None
    threads: int | None = None
    processes: int = 0
    repeated: int = 0
    session: int = 0
    preset: str = ""
    measured_at: str = ""
    cpu: str | None = None
    versions: Mapping[str, str | None] | None = None
    budget: Gate | None = None
    npu: str | None = None
    estimate: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, estimates as {value, low, high}."""
        return asdict(self)


def rows(root: Path, *, baseline: str, order: Mapping[str, Sequence[str]], baseline_scheme: str = "fp32") -> list[Row]:
    """Every artifact's row from the records below `root`, in the study's order.

    Args:
        baseline: the model with whose artifact on the same device and runtime others are compared.
        order: 'devices', 'models' and 'runtimes' that the study names; records of others are left out.
        baseline_scheme: that artifact's scheme.
    """
    grouped: dict[Key, list[Record]] = defaultdict(list)
    harness: dict[str, list[Record]] = defaultdict(list)
    for record in records.read_all(root):
        content = record.content
        if content["runtime"] == "null":
            harness[_session_of(root, record)].append(record)
        elif all(content[kind] in order[f"{kind}s"] for kind in ("device", "model", "runtime")):
            grouped[content["device"], content["runtime"], content["model"], content["scheme"]].append(record)
    built = {key: _row(found, harness[_session_of(root, found[0])]) for key, found in grouped.items()}
    hits = {key: _hits(found) for key, found in grouped.items()}
    for key, reason in disagreements(hits).items():
        built[key] = replace(built[key], verdict="invalid", reasons=(*built[key].reasons, reason), accuracy=None)
        hits[key] = None
    compared = [_compared(key, built, hits, (key[0], key[1], baseline, baseline_scheme)) for key in built]
    return sorted(compared, key=lambda row: _rank(row, order))


def _session_of(root: Path, record: Record) -> str:
    return record.directory.relative_to(root).parts[0]


def _rank(row: Row, order: Mapping[str, Sequence[str]]) -> tuple[int, int, int, int, str]:
    return (
        list(order["devices"]).index(row.device),
        list(order["models"]).index(row.model),
        list(order["runtimes"]).index(row.runtime) if row.runtime in order["runtimes"] else len(order["runtimes"]),
        SCHEMES.index(row.scheme) if row.scheme in SCHEMES else len(SCHEMES),
        row.scheme,
    )


def disagreements(hits: Mapping[Key, Array | None]) -> dict[Key, str]:
    """Artifacts whose accuracy is below that of the same model and scheme elsewhere by more than chance allows.

    McNemar's exact test on the samples that only one of the two gets right, corrected for all pairs (Holm 1979). Each
    runtime's own quantizer makes another integer model, so those may differ by SAME_POINTS before it counts, and by
    more at 4 bits, where it matters which layers a quantizer leaves alone.
    """
    known = {key: array for key, array in hits.items() if array is not None}
    pairs = [
        (one, two) if known[one].sum() < known[two].sum() else (two, one)
        for one, two in itertools.combinations(sorted(known), 2)
        if one[2:] == two[2:] and len(known[one]) == len(known[two])
    ]
    found: dict[Key, str] = {}
    tested = sorted((statistics.mcnemar(known[high], known[low]), low, high) for low, high in pairs)
    for rank, (p_value, low, high) in enumerate(tested):
        if p_value * (len(tested) - rank) > DISAGREEMENT_ALPHA:
            break
        difference = float(known[high].mean() - known[low].mean())
        if difference > _same_points(low[3]):
            where = f"{high[1]} on {high[0]}" if high[0] != low[0] else high[1]
            found.setdefault(
                low, f"accuracy is {100 * difference:.2f} points below that of {where} (p = {p_value:.1g})"
            )
    return found


def _same_points(scheme: str) -> float:
    if scheme in FLOATING:
        return 0.0
    return SAME_POINTS_INT4 if scheme.startswith("int4") else SAME_POINTS


def _latest(found: Sequence[Record]) -> list[Record]:
    """The last attempt of every run: a disturbed one was repeated in the same session."""
    last: dict[tuple[str, int], Record] = {}
    for record in found:
        key = record.content["scenario"], record.content["process"]
        if key not in last or record.content["attempt"] > last[key].content["attempt"]:
            last[key] = record
    return list(last.values())


def _row(attempts: Sequence[Record], harness: Sequence[Record]) -> Row:
    found = _latest(attempts)
    content = next(record.content for record in found if not _other_seed(record))
    artifact, model = content["artifact"], content["artifact"]["model"]
    verdict, reasons = _verdict(found)
    row = Row(
        device=content["device"],
        runtime=content["runtime"],
        model=content["model"],
        scheme=content["scheme"],
        method=model["method"],
        parent=model["lineage"].get("parent", {}).get("name"),
        teacher=" + ".join(of["name"] for role, of in model["lineage"].items() if role.startswith("teacher")) or None,
        verdict=verdict,
        reasons=reasons,
        parameters=model["parameters"],
        macs=model["macs"],
        weight_sparsity=model["weight_sparsity"],
        artifact_sha256=artifact["sha256"],
        notes=tuple(artifact.get("notes", ())),
        size_bytes=artifact.get("size_bytes"),
        gzip_bytes=artifact.get("gzip_bytes"),
        entropy_coded_bytes=model.get("entropy_coded_bytes"),
        session=content["session"],
        preset=content["preset"],
        repeated=len(attempts) - len(found),
        measured_at=max(record.content["measured_at"] for record in found),
        npu=content.get("card", {}).get("npu"),
        estimate=next((record.content["estimate"] for record in found if record.content.get("estimate")), None),
    )
    if row.npu is not None or verdict == "unsupported":
        return row
    row = replace(
        row,
        accuracy=_accuracy(found),
        seed_accuracies=_seed_accuracies(found),
        **_measured(found),
        **_conditions(found),
    )
    overhead = _from_log(_latest(harness), SINGLE_STREAM, "result_50.00_percentile_latency_ns")
    row = replace(row, budget=budgets.gate(row, content.get("card", {}).get("budget")))
    return replace(row, harness_p50_ns=overhead) if row.p50_ns else row


def _verdict(found: Sequence[Record]) -> tuple[str, tuple[str, ...]]:
    """The worst verdict among an artifact's records, with the reasons of all that are not valid."""
    worst = max((record.verdict for record in found), key=["valid", "unsupported", "invalid", "error"].index)
    reasons = []
    for record in found:
        where = "" if record.verdict == "unsupported" else f"{record.content['scenario']} {record.content['process']}: "
        reasons += [f"{where}{reason}" for reason in record.content["reasons"]]
    return worst, tuple(reasons)


def _measured(found: Sequence[Record]) -> dict[str, Any]:
    """The figures of each scenario; a scenario with any run that is not valid has none."""
    single = _of(found, SINGLE_STREAM)
    durations = [record.array(LATENCIES, "call_ns") for record in single]
    figures: dict[str, Any] = {
        "p50_ns": statistics.percentile(durations, 50),
        "p90_ns": statistics.percentile(durations, 90),
        "p99_ns": statistics.percentile(durations, 99),
        "multi_stream_p99_ns": _from_log(found, MULTI_STREAM, "result_99.00_percentile_per_query_latency_ns"),
        "offline_samples_per_s": _from_log(found, OFFLINE, "result_samples_per_second"),
        "server_samples_per_s": _from_log(found, SERVER, "result_completed_samples_per_sec"),
        "invoke_p50_ns": statistics.percentile([record.array(LATENCIES, "invoke_ns") for record in single], 50),
        "processes": len(single),
    }
    if single:
        spread = statistics.spread(durations, 50)
        energies = [_energy_uj(record, len(calls)) for record, calls in zip(single, durations, strict=True)]
        known = [uj for uj in energies if uj is not None]
        results = [record.content["result"] for record in single]
        figures |= {
            "load_ns": statistics.mean([result["load_ns"] for result in results]),
            "first_inference_ns": statistics.mean([result["first_inference_ns"] for result in results]),
            "peak_rss_bytes": max(result["peak_rss_bytes"] for result in results),
            "p50_between": None if spread is None else spread.between,
            "p50_within": None if spread is None else spread.within,
            "independent_share": float(np.mean([statistics.effective_samples(d, 0.5) / len(d) for d in durations])),
            "energy_uj": statistics.mean(known) if len(known) == len(single) else None,
        }
    counted = [record.content["instructions"] for record in found if record.content.get("instructions")]
    if counted:
        figures |= {"instructions": counted[0]["per_inference"], "instructions_method": counted[0]["method"]}
    return figures


def _energy_uj(record: Record, inferences: int) -> float | None:
    """Energy of one inference, from the counter's samples over LoadGen's power window; None without a counter."""
    if record.content["result"].get("energy_method") is None:
        return None
    log = record.content["result"]["loadgen"]
    return energy.per_inference_uj(record.file(TELEMETRY), log, inferences=inferences)


def _conditions(found: Sequence[Record]) -> dict[str, Any]:
    results = [record.content["result"] for record in found if record.content.get("result", {}).get("status") == "done"]
    if not results:
        return {}
    return {
        "threads": results[0]["threads"],
        "cpu": results[0]["fingerprint"]["cpu"],
        "versions": results[0]["versions"],
    }


def _of(found: Sequence[Record], scenario: str) -> list[Record]:
    """The performance records of a scenario, or none when any of them is not valid: a failure is not averaged away."""
    performance = [
        record
        for record in found
        if record.content["scenario"] != records.ACCURACY and not record.content.get("compliance")
    ]
    # A run that failed before its job was written is known by the name it shares with the scenario's other runs.
    names = {r.content["scenario"] for r in performance if r.content.get("job", {}).get("scenario") == scenario}
    chosen = [record for record in performance if record.content["scenario"] in names]
    return chosen if all(record.verdict == "valid" for record in chosen) else []


def _from_log(found: Sequence[Record], scenario: str, key: str) -> Estimate | None:
    return statistics.mean([record.content["result"]["loadgen"][key] for record in _of(found, scenario)])


def _other_seed(record: Record) -> bool:
    """Whether it measures the model of another seed than the first: accuracy is measured for every seed."""
    return bool(record.content["scenario"] == records.ACCURACY and record.content["process"] > 0)


def _seed_accuracies(found: Sequence[Record]) -> dict[int, float] | None:
    """The accuracy of the model of every seed, or None where any of them has none: a failure is not averaged away."""
    told = [record for record in found if record.content["scenario"] == records.ACCURACY]
    if not told or any(record.verdict != "valid" for record in told):
        return None
    return {
        record.content["artifact"]["model"]["seed"]: record.content["accuracy"]["correct"]
        / record.content["accuracy"]["total"]
        for record in told
    }


def _accuracy(found: Sequence[Record]) -> Estimate | None:
    for record in found:
        if record.content["scenario"] == records.ACCURACY and record.verdict == "valid" and not _other_seed(record):
            return statistics.proportion(record.content["accuracy"]["correct"], record.content["accuracy"]["total"])
    return None


def _hits(found: Sequence[Record]) -> Array | None:
    for record in found:
        if record.content["scenario"] == records.ACCURACY and record.verdict == "valid" and not _other_seed(record):
            return record.array("outputs.npz", "correct")
    return None


def _compared(key: Key, built: Mapping[Key, Row], hits: Mapping[Key, Array | None], reference: Key) -> Row:
    """The row with its difference and speed-up against the reference artifact of the same device and runtime."""
    row, other = built[key], built.get(reference)
    ours, theirs = hits[key], hits.get(reference)
    if other is None or key == reference:
        return row
    difference = None if ours is None or theirs is None else statistics.paired_difference(ours, theirs)
    speed_up = None if row.p50_ns is None or other.p50_ns is None else statistics.ratio(other.p50_ns, row.p50_ns)
    return replace(row, accuracy_difference=difference, speed_up=speed_up)
