"""Compare two nights, devices or commits: cell by cell, by the medians of their processes in the store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance.comparison_report import ComparisonReport
from edgeproof.records import queries
from edgeproof.records.conditions import add_versions, collect_other_facts, list_differences, require_alike
from edgeproof.report.markdown_text import Column, format_markdown_table
from edgeproof.statistics.comparison import Comparison, compare_logs
from edgeproof.statistics.multiple_comparisons import adjust_p_values

GroupKind = Literal["night", "device", "commit"]
# A cell's address without the part that differs between two devices: (device,) runtime, model, scheme.
GroupCell = tuple[str, ...]
_FILTERS: dict[GroupKind, str] = {
    "night": "night = $name",
    "device": "device = $name",
    "commit": "starts_with(commit_id, $name)",
}


@dataclass(frozen=True)
class CellMedians:
    """The last session of a cell: natural logarithms of its processes' medians in ns, and what they were taken under.

    `conditions` and `other_facts` are those of `edgeproof.records.conditions`.
    """

    logs: list[float]
    conditions: Mapping[str, Any]
    other_facts: Mapping[str, Any]


def compare_groups(
    kind: GroupKind, a: str, b: str, root: Path, *, margin: float, allow_unlike: bool
) -> ComparisonReport:
    """Compare two groups of records, with one table row for each cell that both have.

    Args:
        kind: what the names are of.
        a, b: the names of two nights, devices or commits.
        root: the directory of the records.
        margin: the ratio minus 1 up to which a difference counts as none.
        allow_unlike: compare under different conditions too, and list them. Two devices always differ in theirs.

    Raises UnlikeConditions when conditions differ, and EdgeproofError when there is nothing to compare.
    """
    first, second = (_read_group(kind, name, root) for name in (a, b))
    cells = sorted(first.keys() & second.keys())
    if not cells:
        raise EdgeproofError(f"{kind}s '{a}' and '{b}' have no cell in common with a valid single-stream run.")
    differences: dict[str, None] = {}
    other_differences: dict[str, None] = {}
    for cell in cells:
        allowed = allow_unlike or kind == "device"
        lines = require_alike(first[cell].conditions, second[cell].conditions, allow_unlike=allowed)
        differences |= dict.fromkeys(lines)
        other_differences |= dict.fromkeys(list_differences(first[cell].other_facts, second[cell].other_facts))
    comparisons = adjust_p_values(
        [compare_logs(first[cell].logs, second[cell].logs, paired=False, margin=margin) for cell in cells]
    )
    rows = list(zip(cells, comparisons, strict=True))
    rows.sort(key=lambda row: (row[1].verdict == "no difference shown", row[0]))
    counts = Counter(comparison.verdict for comparison in comparisons)
    unmatched = len(first.keys() ^ second.keys())
    introduction = (
        f"A: {kind} {a}, B: {kind} {b}. Medians of B over A's with 95% intervals, Welch's t test confirmed by "
        f"ranks{_explain_unconfirmed(comparisons)}, corrected for {len(cells)} cells (Holm)."
    )
    remarks = [
        "; ".join(f"{count} {verdict}" for verdict, count in counts.items())
        + (f"; {unmatched} cell(s) left out: only one side has valid runs" if unmatched else ""),
        *(f"unlike conditions: {line}" for line in differences),
        *(f"also different: {line}" for line in other_differences),
    ]
    return ComparisonReport(
        text="\n".join([introduction, "", *format_markdown_table(rows, COLUMNS), "", *remarks]),
        comparisons=dict(zip(["/".join(cell) for cell in cells], comparisons, strict=True)),
        left_out=unmatched,
        cells=rows,
        introduction=introduction,
        remarks=remarks,
    )


def _explain_unconfirmed(comparisons: Sequence[Comparison]) -> str:
    """Return for how many cells the rank test confirms nothing, or nothing if it works for all of them."""
    count = sum(comparison.is_decided_by_t_alone for comparison in comparisons)
    return f" (in {count} cell(s) processes are too few for ranks, and t decides alone)" if count else ""


def _read_group(kind: GroupKind, name: str, root: Path) -> dict[GroupCell, CellMedians]:
    """Return the last session of every cell of a group. Raises EdgeproofError when there is none."""
    columns = ("conditions", "versions", "fingerprint")
    lines = queries.read_process_medians(root, _FILTERS[kind], {"name": name}, extra_columns=columns)
    if not lines:
        hint = f" Nights with records: {', '.join(_list_nights(root)) or 'none'}." if kind == "night" else ""
        raise EdgeproofError(f"{kind} '{name}' has no valid single-stream run.{hint}")
    group: dict[GroupCell, CellMedians] = {}
    for _, device, runtime, model, scheme, _, _, *texts, processes in lines:  # later sessions replace earlier ones
        conditions, versions, fingerprint = (json.loads(text or "{}") for text in texts)
        cell = (runtime, model, scheme) if kind == "device" else (device, runtime, model, scheme)
        group[cell] = CellMedians(
            logs=[log for _, log in processes],
            conditions=add_versions(conditions, versions),
            other_facts=collect_other_facts(fingerprint),
        )
    return group


def _list_nights(root: Path) -> list[str]:
    lines = queries.ask("SELECT DISTINCT night FROM records ORDER BY 1", root).fetchall()
    return [str(night) for (night,) in lines]


COLUMNS: tuple[Column[tuple[GroupCell, Comparison]], ...] = (
    Column("cell", lambda row: "/".join(row[0])),
    Column("processes", lambda row: f"{row[1].processes[0]}, {row[1].processes[1]}"),
    Column("B / A", lambda row: f"{row[1].ratio.value:.4f} [{row[1].ratio.low:.4f}, {row[1].ratio.high:.4f}]"),
    Column("p", lambda row: f"{row[1].p_adjusted:.2g}"),
    Column("detectable slowdown", lambda row: f"+{100 * (row[1].smallest_detectable_ratio - 1):.1f}%"),
    Column("B is", lambda row: row[1].verdict),
)
