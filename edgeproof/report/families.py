"""Techniques of one family beside their controls: accuracy over training seeds, sizes, and what became of the MACs.

A model's control is what it would be without the technique: the student that had no teacher, the parent that was tuned
as long. A row is compared with the control's artifact of the same runtime and scheme, integers that a model was
trained for with calibrated ones; a model without a control, in a scheme other than fp32, with its own fp32 artifact,
which tells what the scheme costs.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeproof.config.references import find_reference
from edgeproof.report.row import Row
from edgeproof.report.tables import (
    NONE,
    Column,
    bytes_cell,
    count_cell,
    format_markdown_table,
    percent_cell,
    times_cell,
    us_cell,
)
from edgeproof.statistics import estimates
from edgeproof.statistics.estimates import Estimate

Families = Mapping[str, Mapping[str, str | None]]


@dataclass(frozen=True)
class FamilyRow:
    """An artifact against its control's. What can't be told, because a run was refused or there is no control, is None.

    Accuracies are shares of 1. `accuracy_sd` is the standard deviation over training seeds, None with one seed;
    `difference` the mean over seeds of the difference to the control of the same seed, with Student's t interval.
    """

    family: str
    control: str | None
    row: Row
    seeds: int
    accuracy_mean: float | None
    accuracy_sd: float | None
    difference: Estimate | None
    macs_ratio: float | None
    speed_up: Estimate | None


def build_family_rows(rows: Sequence[Row], families: Families) -> list[FamilyRow]:
    """A row for every artifact of every family's models, in the families' order and then the rows'."""
    places = {(row.device, row.runtime, row.model, row.scheme): row for row in rows}
    found = []
    for family, controls in families.items():
        for row in (row for row in rows if row.model in controls):
            control = controls[row.model]
            other = places.get((row.device, row.runtime, *find_reference(row.model, row.scheme, control)))
            found.append(_family_row(family, control, row, None if other is row else other))
    return found


def _family_row(family: str, control: str | None, row: Row, other: Row | None) -> FamilyRow:
    accuracies = list((row.seed_accuracies or {}).values())
    return FamilyRow(
        family=family,
        control=control,
        row=row,
        seeds=len(accuracies),
        accuracy_mean=float(np.mean(accuracies)) if accuracies else None,
        accuracy_sd=float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        difference=_difference(row.seed_accuracies, other.seed_accuracies if other else None),
        macs_ratio=other.macs / row.macs if other and other.macs and row.macs else None,
        speed_up=_speed_up(row, other),
    )


def _speed_up(row: Row, other: Row | None) -> Estimate | None:
    """Measured in turns with the reference where it was, else the ratio of medians."""
    if other is None:
        return None
    if row.in_turns_against == (other.model, other.scheme):
        return row.in_turns_speed_up
    return None if row.p50_ns is None or other.p50_ns is None else estimates.divide_estimates(other.p50_ns, row.p50_ns)


def _difference(ours: Mapping[int, float] | None, theirs: Mapping[int, float] | None) -> Estimate | None:
    if not ours or not theirs or set(ours) != set(theirs):
        return None
    return estimates.estimate_mean([ours[seed] - theirs[seed] for seed in ours])


def format_families(found: Sequence[FamilyRow], *, study: str) -> str:
    """One table a family, and what its columns mean."""
    parts = [f"# Techniques of study `{study}`", ""]
    for family in dict.fromkeys(row.family for row in found):
        parts += [f"## {family}", "", *format_markdown_table([row for row in found if row.family == family], COLUMNS), ""]
    return "\n".join([*parts, NOTES, ""])


def format_families_as_csv(found: Sequence[FamilyRow]) -> str:
    """One line a row, estimates as three columns, units in the names."""
    stream = io.StringIO()
    lines = [_flat(row) for row in found]
    writer = csv.DictWriter(stream, list(lines[0]) if lines else [], lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _flat(found: FamilyRow) -> dict[str, Any]:
    row = found.row
    flat: dict[str, Any] = {
        "family": found.family,
        "control": found.control,
        **{name: getattr(row, name) for name in ("device", "model", "method", "runtime", "scheme", "verdict")},
        **{name: getattr(found, name) for name in ("seeds", "accuracy_mean", "accuracy_sd", "macs_ratio")},
        **{name: getattr(row, name) for name in ("parameters", "macs", "size_bytes", "gzip_bytes")},
        "entropy_coded_bytes": row.entropy_coded_bytes,
        "speed_up_in_turns": row.in_turns_speed_up is not None and found.speed_up is row.in_turns_speed_up,
    }
    for name, estimate in (("difference", found.difference), ("p50_ns", row.p50_ns), ("speed_up", found.speed_up)):
        parts = {"value": None, "low": None, "high": None} if estimate is None else asdict(estimate)
        known = {key: None if value is None or math.isnan(value) else value for key, value in parts.items()}
        flat |= {name: known["value"], f"{name}_low": known["low"], f"{name}_high": known["high"]}
    return flat


def _accuracy_cell(found: FamilyRow) -> str:
    if found.accuracy_mean is None:
        return NONE
    spread = "" if found.accuracy_sd is None else f" ± {100 * found.accuracy_sd:.2f}"
    return f"{100 * found.accuracy_mean:.2f}{spread}"


COLUMNS: tuple[Column[FamilyRow], ...] = (
    Column("model", lambda found: found.row.model),
    Column("method", lambda found: found.row.method),
    Column("control", lambda found: found.control or NONE),
    Column("runtime", lambda found: found.row.runtime),
    Column("scheme", lambda found: found.row.scheme),
    Column("accuracy %", _accuracy_cell),
    Column("Δ control, points", lambda found: percent_cell(found.difference, "+")),
    Column("parameters", lambda found: count_cell(found.row.parameters)),
    Column("MACs", lambda found: count_cell(found.row.macs)),
    Column("file KiB", lambda found: bytes_cell(found.row.size_bytes)),
    Column("gzip KiB", lambda found: bytes_cell(found.row.gzip_bytes)),
    Column("entropy-coded KiB", lambda found: bytes_cell(found.row.entropy_coded_bytes)),
    Column("p50 µs", lambda found: us_cell(found.row.p50_ns)),
    Column("MACs ratio", lambda found: NONE if found.macs_ratio is None else f"{found.macs_ratio:.2f}×"),
    Column("speed-up", lambda found: times_cell(found.speed_up)),
    Column("verdict", lambda found: found.row.verdict),
)
NOTES = (
    "Accuracy is the mean ± standard deviation over training seeds, measured on the device with the whole test split; "
    "Δ is the mean difference to the control of the same seed, with its 95% interval (Student's t over seeds). A row "
    "without a control is compared with its own fp32 artifact. Sizes, latency and speed-up are the first seed's. "
    "'Entropy-coded' is what the model's weights take in a Huffman code, whatever the artifact's file does. "
    "A speed-up is the median inference of the control over that of the row; where the study measures in turns "
    "(bench.interleaved), both ran in the same processes a millisecond each, and the interval is over processes. "
    "'MACs ratio' is the speed-up that fewer multiply-accumulates would give if time followed them."
)
