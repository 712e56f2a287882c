"""Compare two things of one kind by their names: cells, directories of records, nights, devices or commits.

Two cells are compared by their raw durations (artifact_comparison.py), all others cell by cell with p-values corrected
for all cells (group_comparison.py). Both refuse unlike conditions by the definition in edgeproof/records/conditions.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance import cells
from edgeproof.provenance.artifact_comparison import compare_artifacts
from edgeproof.provenance.comparison_report import ComparisonReport
from edgeproof.provenance.group_comparison import GroupKind, compare_groups
from edgeproof.records import queries, record_files

NIGHT = re.compile(r"\d{4}-\d{2}-\d{2}")
COMMIT = re.compile(r"[0-9a-f]{7,40}")


def compare(a: str, b: str, root: Path, *, percent: float, margin: float, unlike: bool) -> ComparisonReport:
    """Compare two things.

    Args:
        a, b: names of two cells, directories of records, nights, devices or commits.
        root: the directory of the records.
        percent: the percentile to compare; anything but 50 needs two cells.
        margin: the ratio minus 1 up to which a difference counts as none.
        unlike: compare under different conditions too, and list them.

    Raises UnlikeConditions when conditions differ, and EdgeproofError when the two can't be compared.
    """
    kind, other = find_kind(a, root), find_kind(b, root)
    if kind != other:
        raise EdgeproofError(f"'{a}' is a {kind} and '{b}' is a {other}. Name two of the same kind.")
    if kind == "cell":
        first, second = (_find_directory(name, root) for name in (a, b))
        return compare_artifacts(first, second, percent=percent, margin=margin, allow_unlike=unlike)
    if percent != 50:
        raise EdgeproofError(f"two {kind}s are compared by their medians: leave --percent out, or name two cells.")
    return compare_groups(kind, a, b, root, margin=margin, allow_unlike=unlike)


def find_kind(text: str, root: Path) -> Literal["cell"] | GroupKind:
    """Return the kind that a name refers to. A name that is not a night, device, commit or directory is a cell."""
    if NIGHT.fullmatch(text):
        return "night"
    if Path(text).is_dir():
        return "cell"
    if text in queries.list_names(root)["devices"]:
        return "device"
    if COMMIT.fullmatch(text) and _has_commit(text, root):
        return "commit"
    return "cell"


def _has_commit(text: str, root: Path) -> bool:
    sql = f"SELECT commit_id FROM records WHERE starts_with(commit_id, '{text}') LIMIT 1"  # noqa: S608 - hex digits only
    return bool(queries.ask(sql, root).fetchall())


def _find_directory(text: str, root: Path) -> Path:
    """Return the directory with the records of a cell's last session."""
    if Path(text).is_dir() and record_files.list_directories(Path(text)):
        return Path(text)
    return cells.find_cell(text, root).records[0].directory.parent
