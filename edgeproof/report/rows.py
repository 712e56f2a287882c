"""Build the rows of a results table from records, in the study's order, each compared with the baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgeproof.records import record_files, summaries
from edgeproof.records.columns import StoreLine
from edgeproof.report.aggregation import aggregate_row
from edgeproof.report.disagreements import find_disagreements
from edgeproof.report.quality_runs import QualityRun, estimate_difference, make_quality_run
from edgeproof.report.row import Row, RowKey
from edgeproof.report.row_quality import find_quality_run
from edgeproof.report.run_selection import select_last_attempts
from edgeproof.statistics import estimates

# The order of schemes in a table. Others follow by name.
SCHEMES = (
    "fp32",
    "fp16",
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
    "int4-static",
    "int8-qat",
)


def read_rows(
    root: Path, *, baseline: str, order: Mapping[str, Sequence[str]], baseline_scheme: str = "fp32"
) -> list[Row]:
    """Return the row of every artifact that has records below `root`.

    Args:
        baseline: the model that others are compared with, on the same device and runtime.
        order: the study's 'devices', 'models' and 'runtimes'. Rows come in this order; records of others are left out.
        baseline_scheme: the scheme of the baseline's artifact.

    Raises ArtifactError when a record is damaged.
    """
    lines = summaries.summarize_records(record_files.read_all(root), root)
    return build_rows(lines, baseline=baseline, order=order, baseline_scheme=baseline_scheme)


def build_rows(
    lines: Iterable[StoreLine], *, baseline: str, order: Mapping[str, Sequence[str]], baseline_scheme: str = "fp32"
) -> list[Row]:
    """Return the rows of records that were summarized before. Of an artifact's sessions only the last one counts.

    The arguments are those of `read_rows`.
    """
    devices, models, runtimes = (set(order[kind]) for kind in ("devices", "models", "runtimes"))
    grouped: dict[RowKey, list[StoreLine]] = defaultdict(list)
    harness: dict[tuple[str, str], list[StoreLine]] = defaultdict(list)
    for line in lines:
        if line.runtime == "null":
            harness[_get_session(line)].append(line)
        elif line.device in devices and line.model in models and line.runtime in runtimes:
            grouped[RowKey(line.device, line.runtime, line.model, line.scheme)].append(line)
    latest = {key: _select_last_session(group) for key, group in grouped.items()}
    rows = {key: aggregate_row(group, harness[_get_session(group[0])]) for key, group in latest.items()}
    runs = {key: make_quality_run(find_quality_run(select_last_attempts(group))) for key, group in latest.items()}
    for key, reason in find_disagreements(runs).items():
        rows[key] = replace(rows[key], verdict="invalid", reasons=(*rows[key].reasons, reason), quality=None)
        runs[key] = None
    compared = [_compare(key, rows, runs, RowKey(key.device, key.runtime, baseline, baseline_scheme)) for key in rows]
    places = {kind: {name: n for n, name in enumerate(order[f"{kind}s"])} for kind in ("device", "model", "runtime")}
    return sorted(compared, key=lambda row: _rank(row, places))


def _get_session(line: StoreLine) -> tuple[str, str]:
    return line.session_key, line.session_id


def _select_last_session(lines: Sequence[StoreLine]) -> list[StoreLine]:
    last = _get_session(max(lines, key=lambda line: line.measured_at))
    return [line for line in lines if _get_session(line) == last]


def _compare(
    key: RowKey, rows: Mapping[RowKey, Row], runs: Mapping[RowKey, QualityRun | None], reference: RowKey
) -> Row:
    """Return the row with its quality difference and speed-up against the reference artifact."""
    row, other = rows[key], rows.get(reference)
    ours, theirs = runs[key], runs.get(reference)
    if other is None or key == reference:
        return row
    difference = None if ours is None or theirs is None else estimate_difference(ours, theirs)
    speed_up = (
        None if row.p50_ns is None or other.p50_ns is None else estimates.divide_estimates(other.p50_ns, row.p50_ns)
    )
    return replace(row, quality_difference=difference, speed_up=speed_up, reference=reference[2:])


def _rank(row: Row, places: Mapping[str, Mapping[str, int]]) -> tuple[int, int, int, int, str]:
    return (
        places["device"][row.device],
        places["model"][row.model],
        places["runtime"][row.runtime],
        SCHEMES.index(row.scheme) if row.scheme in SCHEMES else len(SCHEMES),
        row.scheme,
    )
