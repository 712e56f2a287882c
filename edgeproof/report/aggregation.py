"""Combine the summaries of one artifact's records into its row. All measured figures of the tables come from here."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeproof.records import kinds
from edgeproof.records.columns import StoreLine
from edgeproof.records.json_text import parse_json
from edgeproof.records.kinds import MULTI_STREAM, OFFLINE, SERVER, SINGLE_STREAM
from edgeproof.records.placement import PlacementSummary
from edgeproof.report import budgets
from edgeproof.report.row import Row
from edgeproof.report.row_quality import describe_metric, get_quality, get_seed_qualities
from edgeproof.report.run_selection import combine_verdicts, has_other_seed, select_last_attempts, select_valid
from edgeproof.statistics import percentiles
from edgeproof.statistics.estimates import Estimate, estimate_mean

# Fields that a row takes unchanged from the record of the first training seed.
_COPIED = (
    *("device", "runtime", "model", "scheme", "method", "parent", "teacher", "parameters", "macs", "weight_sparsity"),
    *("artifact_sha256", "notes", "size_bytes", "gzip_bytes", "session", "preset", "npu"),
)


def aggregate_row(attempts: Sequence[StoreLine], harness: Sequence[StoreLine]) -> Row:
    """Return the row of one artifact, without the figures that compare it with other artifacts.

    Args:
        attempts: all records of the artifact in one session, repeated runs among them.
        harness: records of the null runtime in the same session.
    """
    runs = select_last_attempts(attempts)
    first = next(run for run in runs if not has_other_seed(run))
    estimates = [json.loads(run.estimate) for run in runs if run.estimate is not None]
    verdict, reasons = combine_verdicts(runs)
    row = Row(
        **{name: getattr(first, name) for name in _COPIED},
        estimate=estimates[0] if estimates else None,
        emulated=None if first.emulated is None else _average_emulated(runs),
        **describe_metric(runs),
        model_entropy_coded_bytes=first.entropy_coded_bytes,
        federated=None if first.federated is None else json.loads(first.federated),
        commit=first.commit_id,
        verdict=verdict,
        reasons=reasons,
        repeated=len(attempts) - len(runs),
        refused_runs=sum(attempt.verdict in ("invalid", "error") for attempt in attempts),
        p50_attempts_ns=_combine_attempts(attempts),
        measured_at=max(run.measured_at for run in runs),
    )
    if verdict != "unsupported" and first.npu is None:
        row = replace(row, quality=get_quality(runs), seed_qualities=get_seed_qualities(runs))
        row = _add_conditions(_add_interleaved(_add_measured(row, runs), runs), runs)
        row = _add_preprocessing(row, runs)
    placed = next((run.placement for run in runs if run.placement is not None), None)
    if placed is not None:
        row = replace(row, placement=PlacementSummary.from_json(json.loads(placed)))
    if row.p50_ns is not None:
        overhead = _average(select_valid(select_last_attempts(harness), SINGLE_STREAM), "loadgen_p50_ns")
        row = replace(row, harness_p50_ns=overhead)
    if first.budget is None or first.npu is not None:
        return row
    return replace(row, budget=budgets.check_budget(row, json.loads(first.budget)))


def _add_measured(row: Row, runs: Sequence[StoreLine]) -> Row:
    """Add the figures of every scenario whose runs are all valid."""
    single = select_valid(runs, SINGLE_STREAM)
    row = replace(
        row,
        p50_ns=_combine_percentiles(single, "p50"),
        p90_ns=_combine_percentiles(single, "p90"),
        p99_ns=_combine_percentiles(single, "p99"),
        invoke_p50_ns=_combine_percentiles(single, "invoke_p50"),
        overhead_p50_ns=_estimate_overhead(single),
        offline_samples_per_s=_average(select_valid(runs, OFFLINE), "offline_samples_per_s"),
        processes=len(single),
    )
    row = _add_multi_stream(_add_server(row, runs), runs)
    if single:
        spread = percentiles.measure_spread([run.get_log_percentile("p50") for run in single])
        shares = [run.independent_share or 0.0 for run in single]
        row = replace(
            row,
            load_ns=_average(single, "load_ns"),
            first_inference_ns=_average(single, "first_inference_ns"),
            peak_rss_bytes=max((run.peak_rss_bytes for run in single if run.peak_rss_bytes is not None), default=None),
            arena_bytes=max((run.arena_bytes for run in single if run.arena_bytes is not None), default=None),
            p50_between=None if spread is None else spread.between,
            p50_within=None if spread is None else spread.within,
            independent_share=None if single[0].emulated is not None else float(np.mean(shares)),
            energy_uj=_average(single, "energy_uj"),
            postprocess_p50_ns=_average(single, "postprocess_p50_ns"),
        )
    counted = next((run for run in runs if run.instructions), None)
    if counted is None:
        return row
    return replace(row, instructions=counted.instructions, instructions_method=counted.instructions_method)


def _add_preprocessing(row: Row, runs: Sequence[StoreLine]) -> Row:
    """Add the time of preprocessing, or the reason why it is missing. It is measured in one process."""
    run = next((run for run in runs if run.raw_inputs or run.preprocess_missing), None)
    if run is None:
        return row
    return replace(
        row,
        preprocess_p50_ns=_combine_percentiles([run], "preprocess_p50"),
        preprocess_p90_ns=_combine_percentiles([run], "preprocess_p90"),
        preprocessed=run.preprocessed,
        raw_inputs=run.raw_inputs,
        preprocess_missing=run.preprocess_missing,
    )


def _add_multi_stream(row: Row, runs: Sequence[StoreLine]) -> Row:
    valid = select_valid(runs, MULTI_STREAM)
    return replace(
        row,
        multi_stream_p99_ns=_average(valid, "multi_stream_p99_ns"),
        multi_stream_estimate_ns=_average(valid, "multi_stream_estimate_ns"),
    )


def _add_server(row: Row, runs: Sequence[StoreLine]) -> Row:
    valid = select_valid(runs, SERVER)
    limits = {run.server_limit_ns for run in valid}
    return replace(
        row,
        server_samples_per_s=_average(valid, "server_samples_per_s"),
        server_offered_samples_per_s=_average(valid, "server_offered_samples_per_s"),
        server_p99_ns=_average(valid, "server_p99_ns"),
        server_limit_ns=limits.pop() if len(limits) == 1 else None,
    )


def _estimate_overhead(runs: Sequence[StoreLine]) -> Estimate | None:
    """Return LoadGen's median minus the median of the calls, as the mean over processes."""
    overheads = [
        run.loadgen_p50_ns - math.exp(run.p50_log)
        for run in runs
        if run.loadgen_p50_ns is not None and run.p50_log is not None
    ]
    return estimate_mean(overheads) if len(overheads) == len(runs) else None


def _combine_attempts(attempts: Sequence[StoreLine]) -> Estimate | None:
    """Return p50 over all attempts of single-stream runs, with Student's t interval; None if no attempt was refused."""
    timed = [run for run in attempts if run.loadgen_scenario == SINGLE_STREAM and not run.compliance]
    refused = [run.refused_p50_log for run in timed if run.refused_p50_log is not None]
    if not refused:
        return None
    log = estimate_mean([*refused, *(run.p50_log for run in timed if run.p50_log is not None)])
    assert log is not None
    return _exponentiate(log)


def _exponentiate(log: Estimate) -> Estimate:
    return Estimate(*(math.exp(part) for part in (log.value, log.low, log.high)))


def _combine_percentiles(runs: Sequence[StoreLine], name: str) -> Estimate | None:
    return percentiles.combine_processes([run.get_log_percentile(name) for run in runs])


def _average(runs: Sequence[StoreLine], name: str) -> Estimate | None:
    """Return the mean of a figure over processes, or None if any of them lacks it."""
    values = [getattr(run, name) for run in runs]
    return None if None in values else estimate_mean(values)


def _add_interleaved(row: Row, runs: Sequence[StoreLine]) -> Row:
    """Add the speed-up that interleaved runs measured, unless any of them was refused."""
    interleaved = [run for run in runs if run.scenario == kinds.INTERLEAVED]
    contents = [json.loads(run.in_turns) for run in interleaved if run.in_turns and run.verdict == "valid"]
    if not contents or len(contents) < len(interleaved):
        return row
    log_speed_up = estimate_mean([-content["log_ratio"] for content in contents])
    assert log_speed_up is not None
    speed_up = _exponentiate(log_speed_up)
    return replace(row, in_turns_speed_up=speed_up, in_turns_against=(contents[0]["model"], contents[0]["scheme"]))


def _average_emulated(runs: Sequence[StoreLine]) -> dict[str, float]:
    """Return the mean durations in ns of the single-stream runs on an emulator."""
    contents = [json.loads(run.emulated or "{}") for run in select_valid(runs, SINGLE_STREAM)]
    names = dict.fromkeys(name for content in contents for name in content)
    return {name: float(np.mean([content[name] for content in contents if name in content])) for name in names}


def _add_conditions(row: Row, runs: Sequence[StoreLine]) -> Row:
    """Add the conditions of a run that ended, preferably a single-stream one: scenarios have different settings."""
    ended = [run for run in runs if run.versions is not None]
    if not ended:
        return row
    first = min(ended, key=lambda run: run.loadgen_scenario != SINGLE_STREAM or run.scenario == kinds.ACCURACY)
    return replace(
        row,
        threads=first.threads,
        cpu=first.cpu,
        versions=parse_json(first.versions or "{}"),
        conditions=parse_json(first.conditions or "{}"),
    )
