"""The row of a results table: one artifact on one device, with every figure that a table may show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple

from edgeproof.records.placement import PlacementSummary
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import ACCURACY, ACCURACY_NAME, Metric

BudgetOutcome = Literal["within", "exceeded", "unknown"]
_FORMER_FIELDS = {
    "accuracy": "quality",
    "accuracy_difference": "quality_difference",
    "seed_accuracies": "seed_qualities",
}


class RowKey(NamedTuple):
    """The identity of a row within a table."""

    device: str
    runtime: str
    model: str
    scheme: str


@dataclass(frozen=True)
class BudgetGate:
    """Outcome of a budget check, with one line for each limit that is exceeded or was not measured."""

    outcome: BudgetOutcome
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One artifact on one device. A figure that was not measured, or whose run was refused, is None.

    The field names are the keys of table.json and the columns of table.csv. Qualities are in the natural unit of their
    metric, which is a share of 1 for a proportion such as accuracy. Sparsity is a share of 1.

    Attributes:
        reasons: one line for every run that is not valid.
        notes: remarks of the export.
        metric_name, metric: the metric of the task, and its description.
        seed_qualities: quality of the model made from each training seed.
        p50_between, p50_within: relative standard deviation of p50 between and within processes.
        independent_share: effective sample size over sample size.
        invoke_p50_ns: median time of the engine alone.
        postprocess_p50_ns: median time of the task's postprocessing, which is a part of p50.
        preprocess_p50_ns, preprocess_p90_ns: time from a raw input to the model's input, which is no part of p50.
        preprocessed: number of raw inputs that were preprocessed for these percentiles.
        raw_inputs: what they are, and whether they are synthetic.
        preprocess_missing: the reason why a task with raw inputs has no time of their preprocessing.
        placement: the number of operators, how many of them run on the expected unit, and the others with reasons.
        reference: model and scheme that `quality_difference` and `speed_up` are against.
        in_turns_speed_up: speed-up that interleaved runs measured against `in_turns_against` (model, scheme).
        harness_p50_ns: median cost of LoadGen and the interpreter, measured with the null runtime.
        overhead_p50_ns: LoadGen's median of this artifact minus the median of its calls, in the same processes.
        model_entropy_coded_bytes: size of the model's entropy-coded weights, whatever the artifact's file holds.
        federated: rounds, bytes and qualities of the federation that made the model, as its meta.json has them.
        multi_stream_p99_ns: percentile of the measured queries, `multi_stream_estimate_ns` LoadGen's early-stopping
            estimate of it.
        server_offered_samples_per_s: rate that LoadGen offered, `server_samples_per_s` the rate that was completed.
        repeated: disturbed runs that were repeated.
        refused_runs: runs of all scenarios that were refused, whether or not a repetition replaced them.
        p50_attempts_ns: p50 over all attempts, with the refused ones; None if no timed run was refused.
        conditions: what the figures were measured under, as `edgeproof.records.conditions` defines it.
        arena_bytes: memory that an engine for microcontrollers planned for an inference.
        npu: name of a simulated accelerator. Its row has no figures but `estimate`, made by its compiler.
        emulated: durations in ns on an emulator. No other field holds them, because they are not comparable.
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
    model_entropy_coded_bytes: int | None = None
    federated: Mapping[str, Any] | None = None
    metric_name: str | None = None
    metric: Metric | None = None
    quality: Estimate | None = None
    quality_difference: Estimate | None = None
    seed_qualities: Mapping[int, float] | None = None
    p50_ns: Estimate | None = None
    p90_ns: Estimate | None = None
    p99_ns: Estimate | None = None
    p50_between: float | None = None
    p50_within: float | None = None
    independent_share: float | None = None
    invoke_p50_ns: Estimate | None = None
    postprocess_p50_ns: Estimate | None = None
    preprocess_p50_ns: Estimate | None = None
    preprocess_p90_ns: Estimate | None = None
    preprocessed: int | None = None
    raw_inputs: str | None = None
    preprocess_missing: str | None = None
    energy_uj: Estimate | None = None
    instructions: int | None = None
    instructions_method: str | None = None
    placement: PlacementSummary | None = None
    speed_up: Estimate | None = None
    reference: tuple[str, str] | None = None
    in_turns_speed_up: Estimate | None = None
    in_turns_against: tuple[str, str] | None = None
    harness_p50_ns: Estimate | None = None
    overhead_p50_ns: Estimate | None = None
    load_ns: Estimate | None = None
    first_inference_ns: Estimate | None = None
    peak_rss_bytes: int | None = None
    arena_bytes: int | None = None
    offline_samples_per_s: Estimate | None = None
    multi_stream_p99_ns: Estimate | None = None
    multi_stream_estimate_ns: Estimate | None = None
    server_samples_per_s: Estimate | None = None
    server_offered_samples_per_s: Estimate | None = None
    server_p99_ns: Estimate | None = None
    server_limit_ns: float | None = None
    threads: int | None = None
    processes: int = 0
    repeated: int = 0
    refused_runs: int = 0
    p50_attempts_ns: Estimate | None = None
    session: int = 0
    preset: str = ""
    measured_at: str = ""
    cpu: str | None = None
    versions: Mapping[str, str | None] | None = None
    commit: str | None = None
    conditions: Mapping[str, Any] | None = None
    budget: BudgetGate | None = None
    npu: str | None = None
    estimate: Mapping[str, Any] | None = None
    emulated: Mapping[str, float] | None = None

    @property
    def has_selective_refusals(self) -> bool:
        """True if the refused runs would move p50 out of its interval."""
        p50, attempts = self.p50_ns, self.p50_attempts_ns
        return p50 is not None and attempts is not None and not p50.low <= attempts.value <= p50.high

    @property
    def key(self) -> RowKey:
        """The key of this row, which is unique within a table."""
        return RowKey(self.device, self.runtime, self.model, self.scheme)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, with estimates as {value, low, high}."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Row:
        """Return the row that `content`, an entry of table.json, describes. A figure that it lacks is None.

        Tables of earlier versions call `model_entropy_coded_bytes` entropy_coded_bytes, and their qualities are
        accuracies.

        Raises KeyError or TypeError when a field without a default is missing.
        """
        content = _rename_accuracy(content)
        values = {field.name: content[field.name] for field in fields(cls) if field.name in content}
        estimates = {
            name: Estimate(*(float("nan") if value[part] is None else value[part] for part in ("value", "low", "high")))
            for name, value in values.items()
            if isinstance(value, Mapping) and set(value) == {"value", "low", "high"}
        }
        values.setdefault("model_entropy_coded_bytes", content.get("entropy_coded_bytes"))
        pairs = {name: values.get(name) for name in ("reference", "in_turns_against")}
        seeds, gate = (values.get(name) for name in ("seed_qualities", "budget"))
        metric, placement = (values.get(name) for name in ("metric", "placement"))
        return cls(
            **{
                **values,
                **estimates,
                "reasons": tuple(values["reasons"]),
                "notes": tuple(values.get("notes", ())),
                **{name: tuple(pair) if pair else None for name, pair in pairs.items()},
                "budget": None if gate is None else BudgetGate(gate["outcome"], tuple(gate["reasons"])),
                "seed_qualities": None if seeds is None else {int(seed): value for seed, value in seeds.items()},
                "placement": None if placement is None else PlacementSummary.from_json(placement),
                "metric": None if metric is None else Metric.from_json(metric),
            }
        )


def _rename_accuracy(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an entry of table.json with the names of this version."""
    if "metric" in content or not _FORMER_FIELDS.keys() & content.keys():
        return content
    renamed = {_FORMER_FIELDS.get(name, name): value for name, value in content.items()}
    return {**renamed, "metric_name": ACCURACY_NAME, "metric": ACCURACY.to_json()}
