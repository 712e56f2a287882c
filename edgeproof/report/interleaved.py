"""Compare artifacts by interleaved runs. The ratio of two artifacts in one process is one observation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof.records import record_files
from edgeproof.records.kinds import INTERLEAVED, UNSUPPORTED
from edgeproof.records.record import Record
from edgeproof.records.record_parts import InterleavedResult
from edgeproof.report.markdown_text import EMPTY_CELL, Column, escape, format_markdown_table
from edgeproof.statistics.comparison import Comparison, compare_logs
from edgeproof.statistics.multiple_comparisons import adjust_p_values

# The default number of processes of an interleaved comparison.
ROUNDS = 10
ArtifactKey = tuple[str, str, str]  # runtime, model, scheme


@dataclass(frozen=True)
class InterleavedComparison:
    """An artifact compared with its partner. `partner` is None where no process measured anything."""

    artifact: ArtifactKey
    partner: InterleavedResult | None
    comparison: Comparison


def measure_only_interleaved(rounds: int) -> dict[str, Any]:
    """Return the changes to a session's parameters for `rounds` interleaved processes and no other measurement."""
    return {"processes": 0, "final": {}, "interleaved": rounds}


def compare_interleaved(records: Iterable[Record], *, margin: float = 0.0) -> dict[ArtifactKey, Comparison]:
    """Return the comparison of every artifact with its partner. A ratio above 1 means that the artifact is slower.

    Only valid processes count. `margin` is the ratio minus 1 up to which a difference counts as none.
    """
    ratios: dict[ArtifactKey, list[float]] = defaultdict(list)
    for record in _select_interleaved(records):
        logs = ratios[_get_artifact(record)]
        if record.verdict == "valid" and record.interleaved is not None:
            logs.append(record.interleaved.log_ratio)
    return {
        artifact: compare_logs([0.0] * len(logs), logs, paired=True, margin=margin) for artifact, logs in ratios.items()
    }


def format_interleaved_table(root: Path) -> str:
    """Return the comparisons of the records below `root` as Markdown, with refusals and conditions."""
    records = _select_interleaved(record_files.read_all(root))
    lines = _compare_records(records)
    refused = dict.fromkeys(
        f"- {'/'.join(_get_artifact(record))}: {reason}"
        for record in records
        if record.verdict != "valid"
        for reason in record.reasons
    )
    conditions = dict.fromkeys(_describe_conditions(record) for record in records if record.verdict == "valid")
    return "\n".join(
        [
            "# Interleaved",
            "",
            *format_markdown_table(lines, COLUMNS),
            "",
            *(["Refused, with the reason:", "", *map(escape, refused), ""] if refused else []),
            "The ratio of a process is the median over pairs of blocks: one millisecond of each artifact, in random "
            f"order. Brackets are 95% intervals over processes (Student's t, {_explain_ranks(lines)}). p is corrected "
            "for all comparisons (Holm).",
            "",
            *map(escape, conditions),
            "",
        ]
    )


def read_comparisons(root: Path) -> list[InterleavedComparison]:
    """Return the comparisons of the records below `root`, with p-values corrected for all of them."""
    return _compare_records(_select_interleaved(record_files.read_all(root)))


def _compare_records(records: Sequence[Record]) -> list[InterleavedComparison]:
    comparisons = compare_interleaved(records)
    partners = {_get_artifact(record): record.interleaved for record in records if record.interleaved is not None}
    return [
        InterleavedComparison(artifact, partners.get(artifact), comparison)
        for artifact, comparison in zip(comparisons, adjust_p_values(list(comparisons.values())), strict=True)
    ]


def _explain_ranks(lines: Sequence[InterleavedComparison]) -> str:
    if any(line.comparison.is_decided_by_t_alone for line in lines):
        return "alone where processes are too few for ranks to confirm it"
    return "confirmed by ranks"


def _select_interleaved(records: Iterable[Record]) -> list[Record]:
    """Return the interleaved runs and the unsupported artifacts in the order of the session."""
    selected = [record for record in records if record.identity.scenario in (INTERLEAVED, UNSUPPORTED)]
    return sorted(selected, key=lambda record: (record.order, record.identity.process))


def _get_artifact(record: Record) -> ArtifactKey:
    return record.identity.runtime, record.identity.model, record.identity.scheme


def _describe_conditions(record: Record) -> str:
    result = record.result
    assert result is not None  # a valid run has one
    versions = ", ".join(f"{name} {version}" for name, version in sorted(result.versions.items()))
    return f"{record.identity.device}: {result.fingerprint['cpu']}, {result.threads} thread(s); {versions}"


def _format_decided(line: InterleavedComparison, text: str) -> str:
    return EMPTY_CELL if line.comparison.verdict == "too few processes" else text


def _format_partner(line: InterleavedComparison) -> str:
    return EMPTY_CELL if line.partner is None else f"{line.partner.model}/{line.partner.scheme}"


def _format_ratio(line: InterleavedComparison) -> str:
    ratio = line.comparison.ratio
    return _format_decided(line, f"{ratio.value:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]")


def _format_detectable(line: InterleavedComparison) -> str:
    return _format_decided(line, f"+{100 * (line.comparison.smallest_detectable_ratio - 1):.1f}%")


COLUMNS: Sequence[Column[InterleavedComparison]] = (
    Column("runtime", lambda line: line.artifact[0]),
    Column("artifact", lambda line: f"{line.artifact[1]}/{line.artifact[2]}"),
    Column("against", _format_partner),
    Column("processes", lambda line: str(line.comparison.processes[0])),
    Column("time ratio", _format_ratio),
    Column("p", lambda line: _format_decided(line, f"{line.comparison.p_adjusted:.2g}")),
    Column("detectable slowdown", _format_detectable),
    Column("verdict", lambda line: line.comparison.verdict),
)
