"""Columns of the store: one line per record. The Parquet schema, the view `columns` and the reader derive from this.

A line has the record's identity, verdict and conditions, LoadGen's figures, and those results of the raw arrays that
tables, queries and the site need: logarithms of percentiles with their intervals within the process, quantiles to draw
a distribution from, and the samples of a proportion that were right. The arrays themselves stay with the record.

Durations are in ns, logarithms are natural logarithms of ns, shares are fractions of 1. NULL means unknown. A record of
an emulated device has its times in `emulated` only, so that they are never compared.
"""

from __future__ import annotations

import functools
import operator
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np

from edgeproof.statistics.estimates import Array
from edgeproof.statistics.percentiles import LogPercentile

# Names of the percentiles for which a line has the columns <name>_log, <name>_log_low and <name>_log_high.
LOG_PERCENTILES = ("p50", "p90", "p99", "invoke_p50", "preprocess_p50", "preprocess_p90")

_SQL_TYPES = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN", bytes: "BLOB"}
# Quantiles are only drawn, so single precision is enough.
_SQL_LIST_TYPES = {str: "VARCHAR[]", float: "FLOAT[]"}


class StoreLine(NamedTuple):
    """One record in the store. The text beside a type is the column's description.

    It is a tuple, because a table reads 100,000 lines, and a frozen dataclass of so many fields takes ten times as long
    to make.
    """

    path: Annotated[str, "directory of the record"]
    session_key: Annotated[str, "name of the session's directory"]
    session_id: Annotated[str, "unique name of the session"]
    night: Annotated[str, "day on which the session began, YYYY-MM-DD"]
    study: Annotated[str, "name of the study"]
    task: Annotated[str, "name of the task"]
    device: Annotated[str, "name of the device's card"]
    session: Annotated[int, "number of the session in the study"]
    preset: Annotated[str, "quick, standard, official or official_tiny"]
    runtime: Annotated[str, "inference engine; null measures the harness"]
    model: Annotated[str, "name of the model"]
    scheme: Annotated[str, "number format of the artifact, such as int8-static"]
    scenario: Annotated[str, "the study's name of a LoadGen scenario, or the kind of an untimed record"]
    process: Annotated[int, "number of the process, or of the model's seed in accuracy runs"]
    attempt: Annotated[int, "0, or the number of the repetition"]
    measured_at: Annotated[str, "beginning of the measurement, ISO 8601 in UTC"]
    verdict: Annotated[str, "valid, invalid, unsupported or error"]
    reasons: Annotated[tuple[str, ...], "reasons of a verdict that is not valid"]
    schema_on_disk: Annotated[int, "schema of record.json"]
    artifact_sha256: Annotated[str, "sha256 of the artifact"]
    model_sha256: Annotated[str, "sha256 of the model"]
    method: Annotated[str, "method that made the model"]
    seed: Annotated[int | None, "seed of the model"]
    parameters: Annotated[int | None, "number of the model's parameters"]
    macs: Annotated[int | None, "multiply-accumulate operations of one inference"]
    weight_sparsity: Annotated[float | None, "share of weights that are zero"]
    notes: Annotated[tuple[str, ...], "remarks of the export"] = ()
    disturbed: Annotated[bool, "the machine is the only reason of the verdict or of no time of preprocessing"] = False
    compliance: Annotated[str | None, "MLPerf compliance test, such as TEST01"] = None
    commit_id: Annotated[str | None, "commit that measured"] = None
    runner: Annotated[str | None, "beginning of the runner's sha256"] = None
    loadgen_scenario: Annotated[str | None, "LoadGen's name of the scenario"] = None
    parent: Annotated[str | None, "name of the parent model"] = None
    lineage: Annotated[str | None, "JSON: the models that the model was made from"] = None
    network: Annotated[str | None, "name of the architecture"] = None
    teacher: Annotated[str | None, "names of the teachers"] = None
    data_sha256: Annotated[str | None, "sha256 of the data set"] = None
    options: Annotated[str | None, "JSON: options of the method"] = None
    federated: Annotated[str | None, "JSON: rounds, bytes and qualities of a federation"] = None
    packages: Annotated[str | None, "JSON: versions of the converters"] = None
    validation_quality: Annotated[float | None, "quality over the validation split before export"] = None
    size_bytes: Annotated[int | None, "size of the artifact's files"] = None
    gzip_bytes: Annotated[int | None, "size after gzip"] = None
    entropy_coded_bytes: Annotated[int | None, "size of the model's entropy-coded weights"] = None
    threads: Annotated[int | None, "threads of the runtime"] = None
    cpu: Annotated[str | None, "name of the processor"] = None
    versions: Annotated[str | None, "JSON: versions of the packages on the device"] = None
    conditions: Annotated[str | None, "JSON: properties of the device and settings that a figure depends on"] = None
    fingerprint: Annotated[str | None, "JSON: all properties of the device"] = None
    load_ns: Annotated[int | None, "time to load the model"] = None
    first_inference_ns: Annotated[int | None, "duration of the first inference"] = None
    peak_rss_bytes: Annotated[int | None, "peak resident memory of the process"] = None
    arena_bytes: Annotated[int | None, "memory that the engine planned for an inference"] = None
    harness_p50_ns: Annotated[float | None, "median latency of the harness alone"] = None
    loadgen_p50_ns: Annotated[float | None, "median latency by LoadGen"] = None
    multi_stream_p99_ns: Annotated[float | None, "99th percentile of a MultiStream query"] = None
    multi_stream_estimate_ns: Annotated[float | None, "early-stopping estimate of that percentile by LoadGen"] = None
    offline_samples_per_s: Annotated[float | None, "throughput in Offline"] = None
    server_samples_per_s: Annotated[float | None, "throughput in Server"] = None
    server_offered_samples_per_s: Annotated[float | None, "rate that LoadGen offered in Server"] = None
    server_p99_ns: Annotated[float | None, "99th percentile of the latency at that rate"] = None
    server_limit_ns: Annotated[float | None, "limit of that percentile"] = None
    waiting_share: Annotated[float | None, "share of the run in which the process waited for a processor"] = None
    pressure_share: Annotated[float | None, "share of the run in which any task waited for a processor"] = None
    others_cpus: Annotated[float | None, "processors that other processes used"] = None
    steal_cpus: Annotated[float | None, "processors that the hypervisor took"] = None
    switches_per_s: Annotated[float | None, "involuntary context switches"] = None
    frequency_change: Annotated[float | None, "change of the processor's frequency"] = None
    temperature_rise_c: Annotated[float | None, "rise of the temperature"] = None
    drift: Annotated[float | None, "change of the median latency from the first to the last tenth"] = None
    inferences: Annotated[int | None, "number of inferences"] = None
    independent_share: Annotated[float | None, "effective sample size of the median / inferences"] = None
    p50_log: Annotated[float | None, "median latency, logarithm"] = None
    p50_log_low: Annotated[float | None, "lower end of its interval within the process"] = None
    p50_log_high: Annotated[float | None, "upper end of its interval within the process"] = None
    refused_p50_log: Annotated[float | None, "median latency of a run that was refused, logarithm"] = None
    p90_log: Annotated[float | None, "90th percentile, logarithm"] = None
    p90_log_low: Annotated[float | None, "lower end of its interval within the process"] = None
    p90_log_high: Annotated[float | None, "upper end of its interval within the process"] = None
    p99_log: Annotated[float | None, "99th percentile, logarithm"] = None
    p99_log_low: Annotated[float | None, "lower end of its interval within the process"] = None
    p99_log_high: Annotated[float | None, "upper end of its interval within the process"] = None
    invoke_p50_log: Annotated[float | None, "median time in the engine alone, logarithm"] = None
    invoke_p50_log_low: Annotated[float | None, "lower end of its interval within the process"] = None
    invoke_p50_log_high: Annotated[float | None, "upper end of its interval within the process"] = None
    postprocess_p50_ns: Annotated[float | None, "median time of the task's postprocessing"] = None
    preprocess_p50_log: Annotated[float | None, "median time from a raw input to the model's input, logarithm"] = None
    preprocess_p50_log_low: Annotated[float | None, "lower end of its interval within the process"] = None
    preprocess_p50_log_high: Annotated[float | None, "upper end of its interval within the process"] = None
    preprocess_p90_log: Annotated[float | None, "90th percentile of that time, logarithm"] = None
    preprocess_p90_log_low: Annotated[float | None, "lower end of its interval within the process"] = None
    preprocess_p90_log_high: Annotated[float | None, "upper end of its interval within the process"] = None
    preprocessed: Annotated[int | None, "number of raw inputs that were preprocessed"] = None
    raw_inputs: Annotated[str | None, "what the raw inputs are, and whether they are synthetic"] = None
    preprocess_missing: Annotated[str | None, "why the time of preprocessing is missing"] = None
    quantiles_ns: Annotated[tuple[float, ...] | None, "quantiles of the latency, see summaries.QUANTILE_SHARES"] = None
    energy_uj: Annotated[float | None, "energy of one inference in microjoules"] = None
    instructions: Annotated[int | None, "instructions of one inference"] = None
    instructions_method: Annotated[str | None, "tool that counted the instructions"] = None
    metric: Annotated[str | None, "name of the task's metric, such as accuracy or map_50"] = None
    metric_json: Annotated[str | None, "JSON: the metric's label, unit, scale, digits, direction and interval"] = None
    quality: Annotated[float | None, "quality over the test split in natural units: a share for a proportion"] = None
    quality_low: Annotated[float | None, "lower end of its 95% interval"] = None
    quality_high: Annotated[float | None, "upper end of its 95% interval"] = None
    quality_units: Annotated[int | None, "number of resampling units: samples, sounds, pictures"] = None
    npu: Annotated[str | None, "the card's NPU"] = None
    budget: Annotated[str | None, "JSON: the card's budget"] = None
    estimate: Annotated[str | None, "JSON: estimate of the NPU's compiler"] = None
    profile: Annotated[str | None, "JSON: time by operator"] = None
    placement: Annotated[str | None, "JSON: number of operators, those on the expected unit, and the others"] = None
    in_turns: Annotated[str | None, "JSON: result of an interleaved run"] = None
    emulated: Annotated[str | None, "JSON: percentiles in ns of an emulated device"] = None
    hits: Annotated[bytes | None, "one bit per sample of a proportion: was it right?"] = None

    @classmethod
    def from_values(cls, values: Sequence[Any]) -> StoreLine:
        """Return a line made from the values of all columns, as DuckDB returns them."""
        values = list(values)
        for index in _LIST_COLUMNS:
            if values[index] is not None:
                values[index] = tuple(values[index])
        return cls._make(values)

    def get_log_percentile(self, name: str) -> LogPercentile | None:
        """Return one of LOG_PERCENTILES, or None if the process has too few inferences for it."""
        percentile = LogPercentile._make(_LOG_GETTERS[name](self))
        return None if percentile.value is None else percentile

    def unpack_hits(self) -> Array | None:
        """Return the samples that were right, (N,) bool, or None for another metric."""
        if self.hits is None or self.quality_units is None:
            return None
        return np.unpackbits(np.frombuffer(self.hits, np.uint8), count=self.quality_units).astype(bool)


@dataclass(frozen=True)
class ColumnDefinition:
    """A column of the store."""

    name: str
    sql_type: str
    description: str


@functools.cache
def list_columns() -> tuple[ColumnDefinition, ...]:
    """Return the columns in their order."""
    hints = typing.get_type_hints(StoreLine, include_extras=True)
    return tuple(
        ColumnDefinition(name, _get_sql_type(hint.__origin__), hint.__metadata__[0]) for name, hint in hints.items()
    )


def sql_types() -> dict[str, str]:
    """Return each column's type in SQL."""
    return {column.name: column.sql_type for column in list_columns()}


def _get_sql_type(hint: Any) -> str:
    members = [member for member in typing.get_args(hint) if member is not types.NoneType]
    if isinstance(hint, types.UnionType):
        return _get_sql_type(members[0])
    return _SQL_LIST_TYPES[members[0]] if typing.get_origin(hint) is tuple else _SQL_TYPES[hint]


# DuckDB returns these columns as lists.
_LIST_COLUMNS = [index for index, column in enumerate(list_columns()) if column.sql_type.endswith("[]")]
_LOG_GETTERS = {
    name: operator.attrgetter(f"{name}_log", f"{name}_log_low", f"{name}_log_high") for name in LOG_PERCENTILES
}
