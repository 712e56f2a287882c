"""Compare two of a kind: directories of records, cells, devices, commits or nights.

Two artifacts are compared by their raw durations. Devices, commits and nights are compared cell by cell, each by the
logarithms of its processes' medians, with p-values corrected for all cells.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance import artifact_comparison, cells
from edgeproof.records import record_files, store
from edgeproof.report.tables import Column, format_markdown_table
from edgeproof.statistics.comparison import Comparison, adjust_p_values, compare_logs, require_alike

NIGHT = re.compile(r"\d{4}-\d{2}-\d{2}")
COMMIT = re.compile(r"[0-9a-f]{7,40}")
# What a line is of, where one of its parts is what is compared.
Key = tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """Every cell's last sitting on one side: logarithms of its processes' medians, and its conditions."""

    name: str
    logs: Mapping[Key, list[float]]
    conditions: Mapping[Key, Mapping[str, Any]]


def compare(a: str, b: str, root: Path, *, percent: float, margin: float, unlike: bool) -> str:
    """Compare two things by their names, in words. Raises EdgeproofError, or Unlike where conditions differ."""
    kinds = find_kind(a, root), find_kind(b, root)
    if "cell" in kinds:
        if kinds != ("cell", "cell"):
            raise EdgeproofError(f"'{a}' is a {kinds[0]} and '{b}' a {kinds[1]}: compare two of a kind.")
        places = [_place(name, root) for name in (a, b)]
        return artifact_comparison.compare_artifacts(
            places[0], places[1], percent=percent, margin=margin, allow_unlike=unlike
        )
    if kinds[0] != kinds[1]:
        raise EdgeproofError(f"'{a}' is a {kinds[0]} and '{b}' a {kinds[1]}: compare two of a kind.")
    if percent != 50:
        raise EdgeproofError(f"two {kinds[0]}s are compared by their medians: leave --percent out, or name two cells.")
    return "\n".join(_told(_side(kinds[0], a, root), _side(kinds[0], b, root), kinds[0], margin, unlike))


def find_kind(text: str, root: Path) -> str:
    """'night', 'device', 'commit' or 'cell': what a name is of."""
    if NIGHT.fullmatch(text):
        return "night"
    if Path(text).is_dir():
        return "cell"
    if text in store.list_names(root)["devices"]:
        return "device"
    if COMMIT.fullmatch(text) and _commits(text, root):
        return "commit"
    return "cell"


def _commits(text: str, root: Path) -> list[str]:
    sql = f"SELECT DISTINCT commit_id FROM records WHERE starts_with(commit_id, '{text}')"  # noqa: S608 - hex alone
    return sorted(line[0] for line in store.ask(sql, root).fetchall())


def _place(text: str, root: Path) -> Path:
    """The directory of a cell's records in its last sitting."""
    if Path(text).is_dir() and record_files.list_directories(Path(text)):
        return Path(text)
    return cells.find_cell(text, root).records[0].directory.parent


def _side(kind: str, name: str, root: Path) -> Side:
    where = {"night": "night = $name", "device": "device = $name", "commit": "starts_with(commit_id, $name)"}[kind]
    logs: dict[Key, list[float]] = {}
    conditions: dict[Key, Mapping[str, Any]] = {}
    found = store.read_process_medians(root, where, {"name": name})
    if not found:
        nights = ", ".join(
            str(line[0]) for line in store.ask("SELECT DISTINCT night FROM records ORDER BY 1", root).fetchall()
        )
        hint = f" Nights with records: {nights or 'none'}." if kind == "night" else ""
        raise EdgeproofError(f"{kind} '{name}' has no valid single-stream run.{hint}")
    for (
        night,
        device,
        runtime,
        model,
        scheme,
        _,
        _,
        told,
        versions,
        processes,
    ) in found:  # later sittings replace earlier
        del night
        key = (runtime, model, scheme) if kind == "device" else (device, runtime, model, scheme)
        logs[key] = [log for _, log in processes]
        conditions[key] = {**json.loads(told or "{}"), **json.loads(versions or "{}")}
    return Side(name, logs, conditions)


def _told(a: Side, b: Side, kind: str, margin: float, unlike: bool) -> list[str]:
    common = sorted(a.logs.keys() & b.logs.keys())
    if not common:
        raise EdgeproofError(
            f"{kind}s '{a.name}' and '{b.name}' have no cell in common with a valid single-stream run."
        )
    differences: dict[str, None] = {}
    for key in common:
        # Two devices are unlike by what they are: that is what is compared, and said.
        lines = require_alike(a.conditions[key], b.conditions[key], allow_unlike=unlike or kind == "device")
        differences |= dict.fromkeys(lines)
    found = adjust_p_values([compare_logs(a.logs[key], b.logs[key], paired=False, margin=margin) for key in common])
    shown = sorted(zip(common, found, strict=True), key=lambda of: (of[1].verdict == "no difference shown", of[0]))
    counted = {
        verdict: sum(of.verdict == verdict for of in found) for verdict in dict.fromkeys(of.verdict for of in found)
    }
    alone = len(a.logs) + len(b.logs) - 2 * len(common)
    return [
        f"A: {kind} {a.name}, B: {kind} {b.name}; medians of B over A's with 95% intervals, Welch's t test confirmed "
        f"by ranks, corrected for {len(common)} cells (Holm).",
        "",
        *format_markdown_table(shown, COLUMNS),
        "",
        "; ".join(f"{count} {verdict}" for verdict, count in counted.items())
        + (f"; {alone} cell(s) have valid runs on one side alone and are left out" if alone else ""),
        *(f"unlike conditions: {line}" for line in differences),
    ]


COLUMNS: tuple[Column[tuple[Key, Comparison]], ...] = (
    Column("cell", lambda of: "/".join(of[0])),
    Column("processes", lambda of: f"{of[1].processes[0]}, {of[1].processes[1]}"),
    Column("B / A", lambda of: f"{of[1].ratio.value:.4f} [{of[1].ratio.low:.4f}, {of[1].ratio.high:.4f}]"),
    Column("p", lambda of: f"{of[1].p_adjusted:.2g}"),
    Column("would be found", lambda of: f"+{100 * (of[1].smallest_detectable_ratio - 1):.1f}%"),
    Column("B is", lambda of: of[1].verdict),
)
