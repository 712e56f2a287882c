"""Results of a benchmark of a user's files: their tables, and what a caller such as a CI job decides from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeproof.core.directories import write_text
from edgeproof.records import record_files
from edgeproof.records.record_parts import RecordIdentity, Verdict
from edgeproof.report import interleaved, tables
from edgeproof.report.interleaved import InterleavedComparison
from edgeproof.report.row import Row
from edgeproof.report.rows import read_rows

# The names of the directory's suffix and of the table of interleaved runs.
INTERLEAVED_NAME = "interleaved"


@dataclass(frozen=True)
class ExternalResults:
    """Results of a benchmark of a user's files.

    Attributes:
        text: the table as Markdown.
        directory: where tables/ and records/ are.
        rows: the rows of the table; none for interleaved runs.
        comparisons: the comparisons of interleaved runs; none for other runs.
        table: the file of the table.
        runs: the number of runs by verdict, of repeated runs only the last attempt.
        has_latency: True if a latency of at least one artifact is valid.
    """

    text: str
    directory: Path
    rows: Sequence[Row]
    comparisons: Sequence[InterleavedComparison]
    table: Path
    runs: Mapping[Verdict, int]
    has_latency: bool


def write_interleaved_results(out: Path, directory: Path) -> ExternalResults:
    """Write the table of the interleaved runs below `out`, which becomes `directory`, and return the results."""
    text = interleaved.format_interleaved_table(out / "records")
    write_text(out / "tables" / f"{INTERLEAVED_NAME}.md", text)
    comparisons = interleaved.read_comparisons(out / "records")
    return ExternalResults(
        text,
        directory,
        rows=[],
        comparisons=comparisons,
        table=directory / "tables" / f"{INTERLEAVED_NAME}.md",
        runs=_count_runs(out / "records"),
        has_latency=any(min(line.comparison.processes) > 0 for line in comparisons),
    )


def write_results(
    out: Path,
    directory: Path,
    *,
    name: str,
    artifacts: Mapping[str, Sequence[str]],
    device: str,
    runtimes: Sequence[str],
) -> ExternalResults:
    """Write the tables of the records below `out`, which becomes `directory`, and return the results.

    `artifacts` holds the schemes of each model. The first model in its first scheme is the baseline.
    """
    baseline, schemes = next(iter(artifacts.items()))
    order = {"devices": [device], "models": list(artifacts), "runtimes": runtimes}
    rows = read_rows(out / "records", baseline=baseline, baseline_scheme=schemes[0], order=order)
    text = tables.write_tables(out / "tables", rows, study=name, baseline=baseline, baseline_scheme=schemes[0])
    return ExternalResults(
        text,
        directory,
        rows,
        comparisons=[],
        table=directory / "tables/table.md",
        runs=_count_runs(out / "records"),
        has_latency=any(map(_has_latency, rows)),
    )


def _has_latency(row: Row) -> bool:
    """Return True for a valid latency, also of an emulator or estimated for a simulated device."""
    return row.p50_ns is not None or bool(row.emulated) or (row.estimate is not None and row.verdict == "valid")


def _count_runs(records: Path) -> Counter[Verdict]:
    """Return the number of runs by the verdict of their last attempt."""
    last: dict[tuple[str, ...], tuple[int, Verdict]] = {}
    for record in record_files.read_all(records):
        run = record.identity
        key = _name_run(run)
        if key not in last or run.attempt > last[key][0]:
            last[key] = run.attempt, record.verdict
    return Counter(verdict for _, verdict in last.values())


def _name_run(run: RecordIdentity) -> tuple[str, ...]:
    return run.session_id, run.runtime, run.model, run.scheme, run.scenario, str(run.process)
