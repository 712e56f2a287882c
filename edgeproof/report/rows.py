"""From records to rows: one row an artifact and device, every figure computed here and none typed."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.records import record_files, summaries
from edgeproof.records.summaries import MULTI_STREAM, OFFLINE, SERVER, SINGLE_STREAM, Summary
from edgeproof.report import budgets
from edgeproof.report.budgets import Gate
from edgeproof.statistics import intervals
from edgeproof.statistics.intervals import Estimate

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
    "int8-static-minmax",
    "int8-static-percentile",
    "int8-static-mse",
    "int8-static-entropy",
    "int8-static-tensor",
    "int8-qat",
)

Array = np.ndarray[Any, Any]
Key = tuple[str, str, str, str]  # device, runtime, model, scheme


@dataclass(frozen=True)
class Row:
    """One artifact on one device. A figure that was not measured, or whose run was refused, is None.

    With `npu`, the device is simulated and has no figures but `estimate`, which its compiler made. With `emulated`, it
    is an emulator: its answers are measured, and what it took in time is in that mapping (ns) and nowhere else.
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
    in_turns_speed_up: Estimate | None = None
    in_turns_against: tuple[str, str] | None = None
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
    commit: str | None = None
    conditions: Mapping[str, Any] | None = None
    budget: Gate | None = None
    npu: str | None = None
    estimate: Mapping[str, Any] | None = None
    emulated: Mapping[str, float] | None = None

    @property
    def key(self) -> Key:
        """What tells a row from all others."""
        return self.device, self.runtime, self.model, self.scheme

    def as_dict(self) -> dict[str, Any]:
        """Plain data, estimates as {value, low, high}."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Row:
        """A row of table.json; a figure that an older table lacks is None."""
        known = {field.name: told[field.name] for field in fields(cls) if field.name in told}
        estimates = {
            name: Estimate(*(float("nan") if value[part] is None else value[part] for part in ("value", "low", "high")))
            for name, value in known.items()
            if isinstance(value, Mapping) and set(value) == {"value", "low", "high"}
        }
        seeds, gate = known.get("seed_accuracies"), known.get("budget")
        return cls(
            **{
                **known,
                **estimates,
                "reasons": tuple(known["reasons"]),
                "notes": tuple(known.get("notes", ())),
                "in_turns_against": tuple(known["in_turns_against"]) if known.get("in_turns_against") else None,
                "budget": None if gate is None else Gate(gate["outcome"], tuple(gate["reasons"])),
                "seed_accuracies": None if seeds is None else {int(seed): share for seed, share in seeds.items()},
            }
        )


def rows(root: Path, *, baseline: str, order: Mapping[str, Sequence[str]], baseline_scheme: str = "fp32") -> list[Row]:
    """Every artifact's row from the records below `root`, in the study's order.

    Args:
        baseline: the model with whose artifact on the same device and runtime others are compared.
        order: 'devices', 'models' and 'runtimes' that the study names; records of others are left out.
        baseline_scheme: that artifact's scheme.
    """
    return rows_of(
        summaries.summarize(record_files.read_all(root), root),
        baseline=baseline,
        order=order,
        baseline_scheme=baseline_scheme,
    )


def rows_of(
    found: Iterable[Summary], *, baseline: str, order: Mapping[str, Sequence[str]], baseline_scheme: str = "fp32"
) -> list[Row]:
    """The same from records that were read before. Of an artifact that was measured in several sittings, the last."""
    devices, models, runtimes = (set(order[kind]) for kind in ("devices", "models", "runtimes"))
    grouped: dict[Key, list[Summary]] = defaultdict(list)
    harness: dict[tuple[str, str], list[Summary]] = defaultdict(list)
    for summary in found:
        if summary.runtime == "null":
            harness[_sitting(summary)].append(summary)
        elif summary.device in devices and summary.model in models and summary.runtime in runtimes:
            grouped[summary.device, summary.runtime, summary.model, summary.scheme].append(summary)
    latest = {key: _last_sitting(of) for key, of in grouped.items()}
    built = {key: _row(of, harness[_sitting(of[0])]) for key, of in latest.items()}
    hits = {key: _hits(of) for key, of in latest.items()}
    for key, reason in disagreements(hits).items():
        built[key] = replace(built[key], verdict="invalid", reasons=(*built[key].reasons, reason), accuracy=None)
        hits[key] = None
    compared = [_compared(key, built, hits, (key[0], key[1], baseline, baseline_scheme)) for key in built]
    places = {kind: {name: n for n, name in enumerate(order[f"{kind}s"])} for kind in ("device", "model", "runtime")}
    return sorted(compared, key=lambda row: _rank(row, places))


def _sitting(summary: Summary) -> tuple[str, str]:
    return summary.session_key, summary.session_id


def _last_sitting(found: Sequence[Summary]) -> list[Summary]:
    last = _sitting(max(found, key=lambda summary: summary.measured_at))
    return [summary for summary in found if _sitting(summary) == last]


def _rank(row: Row, places: Mapping[str, Mapping[str, int]]) -> tuple[int, int, int, int, str]:
    return (
        places["device"][row.device],
        places["model"][row.model],
        places["runtime"][row.runtime],
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
    alike: dict[tuple[str, str, int], list[Key]] = defaultdict(list)
    for key in sorted(known):
        alike[key[2], key[3], len(known[key])].append(key)
    pairs = [pair for keys in alike.values() for pair in _suspicious(keys, known)]
    total = sum(len(keys) * (len(keys) - 1) // 2 for keys in alike.values())
    found: dict[Key, str] = {}
    for rank, (p_value, low, high) in enumerate(sorted(pairs)):
        if p_value * (total - rank) > DISAGREEMENT_ALPHA:
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


def _suspicious(keys: Sequence[Key], hits: Mapping[Key, Array]) -> list[tuple[float, Key, Key]]:
    """The pairs of artifacts that no correction can clear, as (p-value, the less accurate one, the other)."""
    # Devices that run the same engine answer alike: each answer is compared once.
    different: dict[bytes, int] = {}
    kind = np.array([different.setdefault(hits[key].tobytes(), len(different)) for key in keys])
    right = np.array([np.frombuffer(of, bool) for of in different], np.float32)  # sums up to 2**24 are exact
    both = right @ right.T
    only = np.diag(both)[:, None] - both
    one, two = np.triu_indices(len(keys), 1)
    p_values = intervals.mcnemars(only, only.T)[kind[one], kind[two]]
    less = only[kind[one], kind[two]] < only[kind[two], kind[one]]
    low, high = np.where(less, one, two), np.where(less, two, one)
    return [(float(p_values[n]), keys[low[n]], keys[high[n]]) for n in np.flatnonzero(p_values <= DISAGREEMENT_ALPHA)]


def _latest(found: Sequence[Summary]) -> list[Summary]:
    """The last attempt of every run: a disturbed one was repeated in the same session."""
    last: dict[tuple[str, int], Summary] = {}
    for summary in found:
        key = summary.scenario, summary.process
        if key not in last or summary.attempt > last[key].attempt:
            last[key] = summary
    return list(last.values())


_OF_FIRST = (
    *("device", "runtime", "model", "scheme", "method", "parent", "teacher", "parameters", "macs", "weight_sparsity"),
    *("artifact_sha256", "notes", "size_bytes", "gzip_bytes", "entropy_coded_bytes", "session", "preset", "npu"),
)


def _row(attempts: Sequence[Summary], harness: Sequence[Summary]) -> Row:
    found = _latest(attempts)
    first = next(summary for summary in found if not _other_seed(summary))
    verdict, reasons = _verdict(found)
    figures: dict[str, Any] = {}
    if verdict != "unsupported" and first.npu is None:
        figures = {"accuracy": _accuracy(found), "seed_accuracies": _seed_accuracies(found)}
        figures |= {**_measured(found), **_conditions(found)}
        if figures["p50_ns"]:
            figures["harness_p50_ns"] = _mean(_of(_latest(harness), SINGLE_STREAM), "loadgen_p50_ns")
    estimates = [json.loads(summary.estimate) for summary in found if summary.estimate is not None]
    row = Row(
        **{name: getattr(first, name) for name in _OF_FIRST},
        estimate=estimates[0] if estimates else None,
        emulated=None if first.emulated is None else _emulated(found),
        commit=first.commit_id,
        verdict=verdict,
        reasons=reasons,
        repeated=len(attempts) - len(found),
        measured_at=max(summary.measured_at for summary in found),
        **figures,
    )
    if first.budget is None or first.npu is not None:
        return row
    return replace(row, budget=budgets.gate(row, json.loads(first.budget)))


def _verdict(found: Sequence[Summary]) -> tuple[str, tuple[str, ...]]:
    """The worst verdict among an artifact's records, with the reasons of all that are not valid."""
    worst = max((summary.verdict for summary in found), key=["valid", "unsupported", "invalid", "error"].index)
    reasons = []
    for summary in found:
        where = "" if summary.verdict == "unsupported" else f"{summary.scenario} {summary.process}: "
        reasons += [f"{where}{reason}" for reason in summary.reasons]
    return worst, tuple(reasons)


def _measured(found: Sequence[Summary]) -> dict[str, Any]:
    """The figures of each scenario; a scenario with any run that is not valid has none."""
    single = _of(found, SINGLE_STREAM)
    medians = [summary.log_percentile("p50") for summary in single]
    figures: dict[str, Any] = {
        "p50_ns": intervals.combined(medians),
        "p90_ns": _percentile(single, "p90"),
        "p99_ns": _percentile(single, "p99"),
        "multi_stream_p99_ns": _mean(_of(found, MULTI_STREAM), "multi_stream_p99_ns"),
        "offline_samples_per_s": _mean(_of(found, OFFLINE), "offline_samples_per_s"),
        "server_samples_per_s": _mean(_of(found, SERVER), "server_samples_per_s"),
        "invoke_p50_ns": _percentile(single, "invoke_p50"),
        "processes": len(single),
    }
    if single:
        spread = intervals.spread(medians)
        shares = [summary.independent_share or 0.0 for summary in single]
        figures |= {
            "load_ns": _mean(single, "load_ns"),
            "first_inference_ns": _mean(single, "first_inference_ns"),
            "peak_rss_bytes": max(summary.peak_rss_bytes or 0 for summary in single),
            "p50_between": None if spread is None else spread.between,
            "p50_within": None if spread is None else spread.within,
            "independent_share": None if single[0].emulated is not None else float(np.mean(shares)),
            "energy_uj": _mean(single, "energy_uj"),
        }
    counted = [summary for summary in found if summary.instructions]
    if counted:
        figures |= {"instructions": counted[0].instructions, "instructions_method": counted[0].instructions_method}
    return figures | _in_turns([summary for summary in found if summary.scenario == record_files.IN_TURNS])


def _in_turns(found: Sequence[Summary]) -> dict[str, Any]:
    """How often the artifact fits into the time of the one it took turns with; None where any process was refused."""
    told = [json.loads(summary.in_turns) for summary in found if summary.in_turns and summary.verdict == "valid"]
    if not told or len(told) < len(found):
        return {}
    faster = intervals.mean([-of["log_ratio"] for of in told])
    assert faster is not None
    parts = (math.exp(part) for part in (faster.value, faster.low, faster.high))
    return {"in_turns_speed_up": Estimate(*parts), "in_turns_against": (told[0]["model"], told[0]["scheme"])}


def _emulated(found: Sequence[Summary]) -> dict[str, float]:
    """The mean over processes of what single-stream runs took on an emulator."""
    told = [json.loads(summary.emulated or "{}") for summary in _of(found, SINGLE_STREAM)]
    names = dict.fromkeys(name for of in told for name in of)
    return {name: float(np.mean([of[name] for of in told if name in of])) for name in names}


def _percentile(found: Sequence[Summary], name: str) -> Estimate | None:
    return intervals.combined([summary.log_percentile(name) for summary in found])


def _mean(found: Sequence[Summary], name: str) -> Estimate | None:
    """The mean over processes, or None where any of them doesn't know."""
    values = [getattr(summary, name) for summary in found]
    return None if None in values else intervals.mean(values)


def _conditions(found: Sequence[Summary]) -> dict[str, Any]:
    """What the first run that ended was taken under, single-stream before others: their settings differ."""
    told = sorted(
        (summary for summary in found if summary.versions is not None),
        key=lambda summary: summary.loadgen_scenario != SINGLE_STREAM or summary.scenario == record_files.ACCURACY,
    )
    if not told:
        return {}
    return {
        "threads": told[0].threads,
        "cpu": told[0].cpu,
        "versions": json.loads(told[0].versions or "{}"),
        "conditions": json.loads(told[0].conditions or "{}"),
    }


def _of(found: Sequence[Summary], scenario: str) -> list[Summary]:
    """The performance records of a scenario, or none when any of them is not valid: a failure is not averaged away."""
    performance = [summary for summary in found if summary.scenario != record_files.ACCURACY and not summary.compliance]
    # A run that failed before its job was written is known by the name it shares with the scenario's other runs.
    names = {summary.scenario for summary in performance if summary.loadgen_scenario == scenario}
    if not names:
        return []
    chosen = [summary for summary in performance if summary.scenario in names]
    return chosen if all(summary.verdict == "valid" for summary in chosen) else []


def _other_seed(summary: Summary) -> bool:
    """Whether it measures the model of another seed than the first: accuracy is measured for every seed."""
    return summary.scenario == record_files.ACCURACY and summary.process > 0


def _seed_accuracies(found: Sequence[Summary]) -> dict[int, float] | None:
    """The accuracy of the model of every seed, or None where any of them has none: a failure is not averaged away."""
    told = [summary for summary in found if summary.scenario == record_files.ACCURACY]
    if not told or any(summary.verdict != "valid" for summary in told):
        return None
    return {
        summary.seed: summary.correct / summary.total
        for summary in told
        if summary.correct is not None and summary.total and summary.seed is not None
    }


def _first_accuracy(found: Sequence[Summary]) -> Summary | None:
    valid = (summary for summary in found if summary.scenario == record_files.ACCURACY and summary.verdict == "valid")
    return next((summary for summary in valid if not _other_seed(summary)), None)


def _accuracy(found: Sequence[Summary]) -> Estimate | None:
    told = _first_accuracy(found)
    if told is None or told.correct is None or told.total is None:
        return None
    return intervals.proportion(told.correct, told.total)


def _hits(found: Sequence[Summary]) -> Array | None:
    told = _first_accuracy(found)
    return None if told is None else told.hits_array()


def _compared(key: Key, built: Mapping[Key, Row], hits: Mapping[Key, Array | None], reference: Key) -> Row:
    """The row with its difference and speed-up against the reference artifact of the same device and runtime."""
    row, other = built[key], built.get(reference)
    ours, theirs = hits[key], hits.get(reference)
    if other is None or key == reference:
        return row
    difference = None if ours is None or theirs is None else intervals.paired_difference(ours, theirs)
    speed_up = None if row.p50_ns is None or other.p50_ns is None else intervals.ratio(other.p50_ns, row.p50_ns)
    return replace(row, accuracy_difference=difference, speed_up=speed_up)
