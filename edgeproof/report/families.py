"""Compare the techniques of a family with their controls: quality over training seeds, sizes and speed-ups.

A control is the model without the technique: a student that had no teacher, or a parent that was trained as long. An
artifact is compared with the control's artifact in the same runtime and scheme, and a model of quantization-aware
training with the control's post-training quantization. A model without a control is compared with its own fp32
artifact, which shows the cost of its scheme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeproof.config.references import find_reference
from edgeproof.records.csv_text import format_csv
from edgeproof.report.captions import explain_direction
from edgeproof.report.figure import Figure
from edgeproof.report.figures import FIGURES, choose_figure, list_metrics, make_column
from edgeproof.report.markdown_text import EMPTY_CELL, Column, format_markdown_table
from edgeproof.report.row import Row, RowKey
from edgeproof.report.row_data import flatten_estimate
from edgeproof.statistics import estimates
from edgeproof.statistics.estimates import Estimate

# For each family, its models with their controls; None for a model without a control.
Families = Mapping[str, Mapping[str, str | None]]


@dataclass(frozen=True)
class FamilyRow:
    """An artifact compared with its reference. A figure is None if a run was refused or there is no reference.

    Attributes:
        seeds: number of training seeds with a quality.
        quality_mean, quality_sd: mean and standard deviation over seeds in the metric's natural unit. One seed has no
            deviation.
        difference: mean over seeds of the difference to the control of the same seed, with Student's t interval.
        macs_ratio: multiply-accumulates of the reference over those of the row.
        speed_up: time of the reference over that of the row.
    """

    family: str
    control: str | None
    row: Row
    seeds: int
    quality_mean: float | None
    quality_sd: float | None
    difference: Estimate | None
    macs_ratio: float | None
    speed_up: Estimate | None


def build_family_rows(rows: Sequence[Row], families: Families) -> list[FamilyRow]:
    """Return a row for every artifact of every family's models, in the order of the families and then of `rows`."""
    by_key = {row.key: row for row in rows}
    family_rows = []
    for family, controls in families.items():
        for row in (row for row in rows if row.model in controls):
            control = controls[row.model]
            other = by_key.get(RowKey(row.device, row.runtime, *find_reference(row.model, row.scheme, control)))
            family_rows.append(_compare(family, control, row, None if other is row else other))
    return family_rows


def _compare(family: str, control: str | None, row: Row, other: Row | None) -> FamilyRow:
    qualities = list((row.seed_qualities or {}).values())
    return FamilyRow(
        family=family,
        control=control,
        row=row,
        seeds=len(qualities),
        quality_mean=float(np.mean(qualities)) if qualities else None,
        quality_sd=float(np.std(qualities, ddof=1)) if len(qualities) > 1 else None,
        difference=_average_difference(row.seed_qualities, other.seed_qualities if other else None),
        macs_ratio=other.macs / row.macs if other and other.macs and row.macs else None,
        speed_up=_choose_speed_up(row, other),
    )


def _choose_speed_up(row: Row, other: Row | None) -> Estimate | None:
    """Return the speed-up of interleaved runs against the reference, or else the ratio of medians."""
    if other is None:
        return None
    if row.in_turns_against == (other.model, other.scheme):
        return row.in_turns_speed_up
    return None if row.p50_ns is None or other.p50_ns is None else estimates.divide_estimates(other.p50_ns, row.p50_ns)


def _average_difference(ours: Mapping[int, float] | None, theirs: Mapping[int, float] | None) -> Estimate | None:
    if not ours or not theirs or set(ours) != set(theirs):
        return None
    return estimates.estimate_mean([ours[seed] - theirs[seed] for seed in ours])


def format_families(family_rows: Sequence[FamilyRow], *, study: str) -> str:
    """Return families.md: one table for each family, and an explanation of the columns."""
    parts = [f"# Techniques of study `{study}`", ""]
    for family in dict.fromkeys(row.family for row in family_rows):
        members = [row for row in family_rows if row.family == family]
        parts += [f"## {family}", "", *format_markdown_table(members, list_columns(members)), ""]
    return "\n".join([*parts, _format_notes(family_rows), ""])


def format_families_as_csv(family_rows: Sequence[FamilyRow]) -> str:
    """Return families.csv: one line for each row, an estimate as three columns, units in the column names."""
    lines = [_flatten(row) for row in family_rows]
    names = list(lines[0]) if lines else []
    return format_csv(names, [list(line.values()) for line in lines], quote_text=True)


def _flatten(family_row: FamilyRow) -> dict[str, Any]:
    row = family_row.row
    return {
        "family": family_row.family,
        "control": family_row.control,
        **{name: getattr(row, name) for name in ("device", "model", "method", "runtime", "scheme", "verdict")},
        **{name: getattr(family_row, name) for name in ("seeds", "quality_mean", "quality_sd", "macs_ratio")},
        **{name: getattr(row, name) for name in ("parameters", "macs", "size_bytes", "gzip_bytes")},
        "model_entropy_coded_bytes": row.model_entropy_coded_bytes,
        "speed_up_in_turns": row.in_turns_speed_up is not None and family_row.speed_up is row.in_turns_speed_up,
        **flatten_estimate("difference", family_row.difference),
        **flatten_estimate("p50_ns", row.p50_ns),
        **flatten_estimate("speed_up", family_row.speed_up),
    }


def _format_quality(family_row: FamilyRow, figure: Figure) -> str:
    """Return the mean over seeds with its standard deviation."""
    mean = figure.format_value(family_row.quality_mean).value
    if not mean:
        return EMPTY_CELL
    return f"{mean} ± {figure.format_value(family_row.quality_sd).value}" if family_row.quality_sd is not None else mean


def _format_speed_up(family_row: FamilyRow) -> str:
    text = FIGURES["speed_up"].format_value(family_row.speed_up)
    return f"{text.value}× {text.interval}".strip() if text.value else EMPTY_CELL


def _get_row(family_row: FamilyRow) -> Row:
    return family_row.row


def _column(name: str) -> Column[FamilyRow]:
    return make_column(FIGURES[name], _get_row)


def list_columns(family_rows: Sequence[FamilyRow]) -> list[Column[FamilyRow]]:
    """Return the columns of a family's table. A study has one task, so its rows share one metric."""
    rows = [family_row.row for family_row in family_rows]
    quality = choose_figure("quality", rows)
    difference = replace(choose_figure("quality_difference", rows), heading="Δ control")
    return [
        Column("model", lambda family_row: family_row.row.model),
        _column("method"),
        Column("control", lambda family_row: family_row.control or EMPTY_CELL),
        Column("runtime", lambda family_row: family_row.row.runtime),
        Column("scheme", lambda family_row: family_row.row.scheme),
        Column(quality.title, lambda family_row: _format_quality(family_row, quality)),
        Column(difference.title, lambda family_row: difference.format_cell(family_row.difference)),
        *(_column(name) for name in ("parameters", "macs", "size", "gzip", "entropy_coded", "p50")),
        *(_column(name) for name in ("rounds", "bytes_up", "bytes_down")),
        *(make_column(choose_figure(name, rows), _get_row) for name in ("client_mean", "worst_tenth", "epsilon")),
        Column(
            "MACs ratio",
            lambda family_row: EMPTY_CELL if family_row.macs_ratio is None else f"{family_row.macs_ratio:.2f}×",
        ),
        Column("speed-up", _format_speed_up),
        Column("verdict", lambda family_row: family_row.row.verdict),
    ]


def _format_notes(family_rows: Sequence[FamilyRow]) -> str:
    metrics = list_metrics(family_row.row for family_row in family_rows)
    label = metrics[0].label if len(metrics) == 1 else "quality"
    return " ".join(filter(None, (f"The {label} {NOTES}", explain_direction(metrics))))


NOTES = (
    "is the mean ± standard deviation over training seeds, measured on the device with the whole test split. "
    "Δ is the mean difference to the control of the same seed, with its 95% interval (Student's t over seeds). A row "
    "without a control is compared with its own fp32 artifact. Sizes, latency and speed-up are those of the first "
    "seed. 'Model entropy-coded' is the size of the model's weights in a Huffman code. It belongs to the model, not "
    "to a file, so only fp32 rows show it. A speed-up is the median inference of the control over that of the row. "
    "Where the study interleaves them (bench.interleaved), both ran in the same processes, a millisecond each, and "
    "the interval is over processes. 'MACs ratio' is the speed-up if time were proportional to multiply-accumulates."
)
