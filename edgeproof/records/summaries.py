"""Summarize records as lines of the store, so that tables, queries and the site need not open them again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.errors import ArtifactError
from edgeproof.core.job import NULL_RUNTIME
from edgeproof.records import energy, record_checks
from edgeproof.records.columns import LOG_PERCENTILES, StoreLine
from edgeproof.records.conditions import collect_conditions
from edgeproof.records.kinds import (
    INTERLEAVED,
    LATENCIES_FILE,
    RECORD_FILE,
    SERVER,
    SINGLE_STREAM,
    TELEMETRY_FILE,
)
from edgeproof.records.latencies import read_latencies
from edgeproof.records.record import MEASURE_AGAIN, Record
from edgeproof.records.record_parts import ArtifactDescription
from edgeproof.statistics import effective_samples, percentiles
from edgeproof.statistics.estimates import Array
from edgeproof.statistics.metric import CORRECT

SUMMARIZED_PERCENTS = (50, 90, 99)
# The shares of the quantiles that a distribution with its tail is drawn from. With more than 1,000 durations the
# extremes are single inferences.
QUANTILE_SHARES = (0.0, *(step / 40 for step in range(1, 40)), 0.99, 0.999, 1.0)
TELEMETRY_FIGURES = (
    *("waiting_share", "pressure_share", "others_cpus", "steal_cpus", "switches_per_s", "frequency_change"),
    *("temperature_rise_c", "drift"),
)
# Columns that an emulator's clock decides.
TIME_COLUMNS = (
    *("load_ns", "first_inference_ns", "harness_p50_ns", "loadgen_p50_ns", "multi_stream_p99_ns", "energy_uj"),
    *("offline_samples_per_s", "server_samples_per_s", "quantiles_ns", "independent_share", "profile", "in_turns"),
    *(
        "postprocess_p50_ns",
        "preprocessed",
        "multi_stream_estimate_ns",
        "server_offered_samples_per_s",
        "server_p99_ns",
        "server_limit_ns",
    ),
    "refused_p50_log",
    *TELEMETRY_FIGURES,
    *(f"{name}_log{end}" for name in LOG_PERCENTILES for end in ("", "_low", "_high")),
)

Columns = dict[str, Any]


def summarize_records(records: Iterable[Record], root: Path, *, damaged: list[str] | None = None) -> list[StoreLine]:
    """Return the records below `root` as lines, in their order.

    All records of a session must be given, because its night is that of the first record. Raises ArtifactError for a
    record that is incomplete or whose arrays are damaged, unless `damaged` is given: then the message is appended to it
    and the record is skipped.
    """
    lines = []
    for record in records:
        try:
            lines.append(_summarize_checked(record, root))
        except ArtifactError as error:
            if damaged is None:
                raise
            damaged.append(str(error))
    nights: dict[tuple[str, str], str] = {}
    for line in lines:
        session = line.session_key, line.session_id
        nights[session] = min(nights.get(session, line.night), line.night)
    return [line._replace(night=nights[line.session_key, line.session_id]) for line in lines]


def _summarize_checked(record: Record, root: Path) -> StoreLine:
    try:
        return _summarize(record, root)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ArtifactError(
            f"{record.directory / RECORD_FILE} is damaged ({type(error).__name__}: {error}). {MEASURE_AGAIN}"
        ) from None


def _summarize(record: Record, root: Path) -> StoreLine:
    record_checks.require_log(record)
    figures = {
        **{name: record.figures.get(name) for name in TELEMETRY_FIGURES},
        **_describe_result(record),
        **_describe_latencies(record),
        **_describe_preprocessing(record),
        "harness_p50_ns": record.harness_p50_ns,
        "profile": _format_json(record.profile),
        "placement": None if record.placement is None else _format_json(record.placement.to_json()),
        "in_turns": _format_json(record.content.get(INTERLEAVED)),
    }
    if record.card.emulated:
        figures = _move_emulated_times(figures)
    return StoreLine(
        **asdict(record.identity),
        path=record.directory.as_posix(),
        session_key=record.directory.relative_to(root).parts[0],
        night=record.measured_at[:10],
        measured_at=record.measured_at,
        verdict=record.verdict,
        reasons=record.reasons,
        schema_on_disk=record.schema,
        commit_id=None if record.commit is None else record.commit.id,
        disturbed=record.is_disturbed,
        runner=record.runner_sha256,
        loadgen_scenario=record.loadgen_scenario,
        npu=record.card.npu,
        budget=_format_json(record.card.budget),
        estimate=_format_json(record.estimate),
        **figures,
        **_describe_artifact(record.artifact),
        **_describe_quality(record),
    )


def _move_emulated_times(figures: Mapping[str, Any]) -> Columns:
    """Return the columns without those of time; the percentiles move to the column `emulated`."""
    logs = {f"p{percent}_ns": figures.get(f"p{percent}_log") for percent in SUMMARIZED_PERCENTS}
    percentiles_ns = {name: math.exp(log) for name, log in logs.items() if log is not None}
    others = {name: value for name, value in figures.items() if name not in TIME_COLUMNS}
    return {**others, "emulated": _format_json(percentiles_ns)}


def _describe_artifact(artifact: ArtifactDescription) -> Columns:
    model = artifact.model
    teachers = [source["name"] for role, source in model.lineage.items() if role.startswith("teacher")]
    return {
        "artifact_sha256": artifact.sha256,
        "notes": artifact.notes,
        "size_bytes": artifact.size_bytes,
        "gzip_bytes": artifact.gzip_bytes,
        "packages": _format_json(artifact.packages),
        "model_sha256": model.sha256,
        "method": model.method,
        "options": _format_json(model.options),
        "parent": model.lineage.get("parent", {}).get("name"),
        "lineage": _format_json(model.lineage),
        "network": (model.network or {}).get("name"),
        "teacher": " + ".join(teachers) or None,
        "seed": model.seed,
        "parameters": model.parameters,
        "macs": model.macs,
        "weight_sparsity": model.weight_sparsity,
        "entropy_coded_bytes": model.entropy_coded_bytes,
        "validation_quality": model.validation_quality,
        "data_sha256": model.data_sha256,
        "federated": _format_json(model.federated),
    }


def _describe_result(record: Record) -> Columns:
    """Return the columns of the runner's result; a run that failed has none."""
    count, result = record.instructions, record.result
    columns: Columns = {
        "instructions": None if count is None else count.per_inference,
        "instructions_method": None if count is None else count.method,
    }
    if result is None or not result.is_done:
        return columns
    log, fingerprint = result.loadgen, result.fingerprint
    conditions = collect_conditions(
        fingerprint,
        threads=result.threads,
        preset=record.identity.preset,
        task=record.identity.task,
        settings=record.job.settings if record.job else {},
    )
    return columns | {
        "threads": result.threads,
        "cpu": fingerprint["cpu"],
        "versions": _format_json(result.versions),
        "conditions": _format_json(conditions),
        "fingerprint": _format_json(fingerprint),
        "load_ns": result.load_ns,
        "first_inference_ns": result.first_inference_ns,
        # The process of an engine for microcontrollers is larger than its arena by the whole of Python.
        "peak_rss_bytes": result.peak_rss_bytes if result.memory_plan is None else None,
        "arena_bytes": (result.memory_plan or {}).get("total"),
        "loadgen_p50_ns": log.get("result_50.00_percentile_latency_ns"),
        "multi_stream_p99_ns": log.get("result_99.00_percentile_per_query_latency_ns"),
        "multi_stream_estimate_ns": log.get("early_stopping_latency_ms"),  # in ns: 'ms' is short for MultiStream
        "offline_samples_per_s": log.get("result_samples_per_second"),
        **(_describe_server(log) if record.performance_scenario == SERVER else {}),
    }


def _describe_server(log: Mapping[str, Any]) -> Columns:
    return {
        "server_samples_per_s": log.get("result_completed_samples_per_sec"),
        "server_offered_samples_per_s": log.get("result_scheduled_samples_per_sec"),
        "server_p99_ns": log.get("result_99.00_percentile_latency_ns"),
        "server_limit_ns": log.get("effective_target_latency_ns"),
    }


def _describe_quality(record: Record) -> Columns:
    """Return the quality of a valid run. A run that misses the floor has its metric, which headings of tables need."""
    if not record.identity.is_accuracy:
        return {}
    quality, is_valid = record.quality, record.verdict == "valid"
    if quality is None:
        if is_valid:
            raise KeyError("quality")
        return {}
    metric = {"metric": quality.metric, "metric_json": _format_json(quality.description.to_json())}
    if not is_valid:
        return metric
    evidence = record_checks.read_evidence(record)
    return metric | {
        "quality": quality.value,
        "quality_low": quality.low,
        "quality_high": quality.high,
        "quality_units": quality.units,
        "hits": np.packbits(evidence[CORRECT]).tobytes() if quality.description.is_proportion else None,
    }


def _describe_latencies(record: Record) -> Columns:
    """Return the percentiles, distribution and energy of a valid single-stream run, or the median of a refused one."""
    is_timed = record.performance_scenario == SINGLE_STREAM and record.identity.runtime != NULL_RUNTIME
    if not is_timed or record.verdict not in ("valid", "invalid") or LATENCIES_FILE not in record.files:
        return {}
    latencies = read_latencies(record)
    record_checks.require_plausible(record, latencies)
    calls_ns = latencies.call_ns
    if record.verdict == "invalid":
        log = percentiles.estimate_log_percentile(calls_ns, 50)
        return {} if log is None else {"refused_p50_log": log.value}
    columns: Columns = {
        "inferences": len(calls_ns),
        "independent_share": effective_samples.estimate_effective_samples(calls_ns, 0.5) / len(calls_ns),
        "postprocess_p50_ns": None if latencies.postprocess_ns is None else float(np.median(latencies.postprocess_ns)),
        "quantiles_ns": tuple(float(value) for value in np.quantile(calls_ns, QUANTILE_SHARES)),
        "energy_uj": _compute_energy_uj(record, len(calls_ns)),
    }
    measured = {f"p{percent}": (calls_ns, percent) for percent in SUMMARIZED_PERCENTS}
    measured["invoke_p50"] = latencies.invoke_ns, 50
    for name, (durations_ns, percent) in measured.items():
        columns |= _describe_percentile(name, durations_ns, percent)
    return columns


def _describe_preprocessing(record: Record) -> Columns:
    """Return the percentiles of preprocessing, or the reason why they are missing."""
    measured = record.preprocessing
    if measured is None:
        return {}
    columns: Columns = {"raw_inputs": measured.raw_inputs, "preprocess_missing": measured.missing}
    if measured.missing is not None:
        return columns
    durations_ns = np.array(measured.durations_ns, np.uint64)
    if not durations_ns.all():
        raise ValueError("a preprocessing took no time")
    columns["preprocessed"] = len(durations_ns)
    for percent in (50, 90):
        columns |= _describe_percentile(f"preprocess_p{percent}", durations_ns, percent)
    return columns


def _describe_percentile(name: str, durations_ns: Array, percent: int) -> Columns:
    """Return the columns of a percentile with its interval, or none for too few durations."""
    log = percentiles.estimate_log_percentile(durations_ns, percent)
    if log is None:
        return {}
    return {f"{name}_log": log.value, f"{name}_log_low": log.low, f"{name}_log_high": log.high}


def _compute_energy_uj(record: Record, inferences: int) -> float | None:
    """Return the energy of one inference, or None for a device without an energy counter."""
    if record.result is None or record.result.energy_method is None:
        return None
    return energy.integrate_energy_uj(record.find_file(TELEMETRY_FILE), record.result.loadgen, inferences=inferences)


def _format_json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
