"""Write a sweep's report: its table, Pareto plots, the importance of its keys, and commands that repeat its points."""

from __future__ import annotations

import math
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev

from edgeproof.core.directories import write_json, write_text
from edgeproof.records.csv_text import format_csv
from edgeproof.report import plots
from edgeproof.report.figure import Figure
from edgeproof.report.figures import FIGURES, choose_figure
from edgeproof.report.markdown_text import EMPTY_CELL, Column, format_markdown_table
from edgeproof.report.row import Row
from edgeproof.statistics.estimates import Estimate
from edgeproof.sweeps import pareto_front, results
from edgeproof.sweeps.importance import compute_importance
from edgeproof.sweeps.points import find_axes, format_label, parse_overrides
from edgeproof.sweeps.results import ResultRow
from edgeproof.sweeps.store import SweepStore

SEED = "seed"
SHOWN_DIGEST_DIGITS = 8
ARTIFACT_FIELDS = ("device", "model", "runtime", "scheme", "verdict", "artifact_sha256")


def write_report(store: SweepStore, importance: Mapping[str, Mapping[str, float]] | None = None) -> str:
    """Write table.md, table.csv, importance.json and the plots into the sweep's directory. Return the table.

    `importance` maps each figure to the share of its variance that each key explains. It is computed from the table
    if it is not given.
    """
    request = store.read_request()
    rows = pareto_front.read_marked_rows(store)
    keys = find_axes(request)
    if importance is None:
        importance = _compute_importance(rows, keys, request.objectives)
    text = _format_markdown(store, rows, keys, importance)
    write_text(store.directory / "table.md", text)
    write_text(store.directory / "table.csv", _format_csv(rows, keys))
    write_json(store.directory / "importance.json", importance)
    table_rows = [replace(row.table_row, model=format_label(row.point, keys)) for row in rows if row.table_row]
    plots.draw_plots(table_rows, store.directory)
    return text


# --- the table ---------------------------------------------------------------------------------------------------


def _format_markdown(
    store: SweepStore, rows: Sequence[ResultRow], keys: Sequence[str], importance: Mapping[str, Mapping[str, float]]
) -> str:
    groups = [[row] for row in rows]
    if SEED in keys:
        groups = pareto_front.mark_pareto_front(_group_seeds(rows, keys), store.read_request())
    columns = [*_make_axis_columns([key for key in keys if key != SEED]), *list_columns(rows)]
    parts = [f"# Sweep `{store.name}`", "", *format_markdown_table(groups, columns), ""]
    reasons = [f"- {_format_reason(row, keys)}" for row in rows if row.reason]
    if reasons:
        parts += ["Points without a result and refused runs, with the reason:", "", *reasons, ""]
    parts += _explain_table(store, rows)
    parts += _format_importance(importance)
    parts += ["", "Run any point again, alone, from the same cache:", "", "```sh"]
    parts += list(dict.fromkeys(format_command(row) for row in rows))
    return "\n".join([*parts, "```", ""])


def _format_reason(row: ResultRow, keys: Sequence[str]) -> str:
    return f"`{row.point.digest[:SHOWN_DIGEST_DIGITS]}` {format_label(row.point, keys)}: {' '.join(row.reason.split())}"


def _make_axis_columns(keys: Sequence[str]) -> list[Column[Sequence[ResultRow]]]:
    def cell(key: str) -> Callable[[Sequence[ResultRow]], str]:
        return lambda group: parse_overrides(group[0].point).get(key, EMPTY_CELL)

    return [Column("point", _format_name), *(Column(key, cell(key)) for key in keys)]


def _format_name(group: Sequence[ResultRow]) -> str:
    """Return the first point's digest, marked with '*' if its code differs from its commit."""
    mark = "*" if any(row.changed_files for row in group) else ""
    more = f" +{len(group) - 1}" if len(group) > 1 else ""
    return f"{group[0].point.digest[:SHOWN_DIGEST_DIGITS]}{more}{mark}"


def _row_cell(cell: Callable[[Row], str]) -> Callable[[Sequence[ResultRow]], str]:
    return lambda group: EMPTY_CELL if group[0].table_row is None else cell(group[0].table_row)


def _format_quality(group: Sequence[ResultRow], figure: Figure) -> str:
    """Return the quality with its interval, or the mean over seeds with their sample standard deviation."""
    row = group[0].table_row
    if row is None:
        return EMPTY_CELL
    qualities = [quality for row in group for quality in row.qualities]
    if len(qualities) < 2:
        return figure.format_row_cell(row)
    mean, deviation = figure.format_row(replace(row, quality=_make_exact(fmean(qualities)))).value, stdev(qualities)
    scaled = figure.for_metric(row.metric) if row.metric else figure
    return f"{mean} ± {scaled.format_value(deviation).value} ({len(qualities)} seeds)"


def _make_exact(value: float) -> Estimate:
    return Estimate(value, math.nan, math.nan)


def _format_latency(group: Sequence[ResultRow]) -> str:
    """Return the mean latency with its interval.

    The estimates are independent, so the half-width of their mean is the root of the summed squares of their
    half-widths, over their number.
    """
    estimates = [
        row.table_row.p50_ns for row in group if row.table_row is not None and row.table_row.p50_ns is not None
    ]
    if not estimates:
        return EMPTY_CELL
    value = fmean(estimate.value for estimate in estimates)
    below = math.hypot(*(estimate.value - estimate.low for estimate in estimates)) / len(estimates)
    above = math.hypot(*(estimate.high - estimate.value for estimate in estimates)) / len(estimates)
    return FIGURES["p50"].format_cell(Estimate(value, value - below, value + above))


def _format_size(group: Sequence[ResultRow]) -> str:
    sizes = [row.table_row.size_bytes for row in group if row.table_row and row.table_row.size_bytes is not None]
    return FIGURES["size"].format_cell(round(fmean(sizes)) if sizes else None)


def _format_result(group: Sequence[ResultRow]) -> str:
    return ", ".join(dict.fromkeys(row.status if row.table_row is None else row.table_row.verdict for row in group))


def list_columns(rows: Sequence[ResultRow]) -> list[Column[Sequence[ResultRow]]]:
    """Return the columns of the table but for the point's own; the metric of the rows decides a heading."""
    quality = choose_figure("quality", [row.table_row for row in rows if row.table_row is not None])
    return [
        Column("device", _row_cell(lambda row: row.device)),
        Column("model", _row_cell(lambda row: row.model)),
        Column("runtime", _row_cell(lambda row: row.runtime)),
        Column("artifact's scheme", _row_cell(lambda row: row.scheme)),
        Column(quality.title, lambda group: _format_quality(group, quality)),
        Column(FIGURES["p50"].title, _format_latency),
        Column(FIGURES["size"].title, _format_size),
        Column("Pareto front", lambda group: "yes" if group[0].on_pareto_front else ""),
        Column("result", _format_result),
    ]


def _group_seeds(rows: Sequence[ResultRow], keys: Sequence[str]) -> list[list[ResultRow]]:
    """Group rows that differ only in their seed."""
    groups: dict[tuple[object, ...], list[ResultRow]] = defaultdict(list)
    for row in rows:
        values = parse_overrides(row.point)
        artifact = row.table_row
        identity = (row.status,) if artifact is None else (
            artifact.device, artifact.model, artifact.runtime, artifact.scheme,
        )  # fmt: skip
        groups[*(values.get(key) for key in keys if key != SEED), *identity].append(row)
    return list(groups.values())


def _explain_table(store: SweepStore, rows: Sequence[ResultRow]) -> list[str]:
    request = store.read_request()
    lines = [
        "Each row is a final artifact of one point, or of the points that differ only in their seed. Brackets are 95% "
        "intervals. ± is the standard deviation over seeds. The Pareto front compares "
        f"{', '.join(request.objectives)} on each device, beyond the intervals"
        f"{_describe_limits(rows, request.limits)}.",
        "",
        _describe_stages(store),
        "",
    ]
    changed = sorted({name for row in rows for name in row.changed_files})
    if changed:
        commits = ", ".join(sorted({row.commit[:SHOWN_DIGEST_DIGITS] for row in rows if row.changed_files}))
        lines += [f"\\* The working tree differs from commit {commits} in {', '.join(changed)}.", ""]
    return lines


def _describe_limits(rows: Sequence[ResultRow], limits: Mapping[str, float]) -> str:
    if not limits:
        return ""
    text = ", ".join(f"{name} {limit:g}" for name, limit in limits.items())
    if any(pareto_front.is_within_limits(row, limits) for row in rows):
        return f", among rows within the limits ({text})"
    return f", among all rows, since no row is within the limits ({text})"


def _describe_stages(store: SweepStore) -> str:
    """Return how many stages ran, and how many of them ran more than once."""
    journal = store.read_journal()
    ran = Counter((entry.stage, entry.key) for entry in journal if entry.outcome == "ran")
    repeated = ran.total() - len(ran)
    how_often = ", each of them once" if repeated == 0 else f", {repeated} of them again"
    return f"{len(ran)} stages ran{how_often if ran else ''}. The points needed {len(journal)} stages in total."


def _compute_importance(
    rows: Sequence[ResultRow], keys: Sequence[str], figures: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return, for each figure, the share of its variance that each key and the runtime explain alone."""
    values = []
    for row in rows:
        overrides = parse_overrides(row.point)
        runtime = row.table_row.runtime if row.table_row else ""
        values.append({**{key: overrides.get(key, "") for key in keys}, "runtime": runtime})
    return {figure: compute_importance(rows, values, figure) for figure in figures}


def _format_importance(importance: Mapping[str, Mapping[str, float]]) -> list[str]:
    keys = list(dict.fromkeys(key for shares in importance.values() for key in shares))
    if not keys:
        return []
    columns = [Column[str]("key", lambda key: key)]
    for figure, shares in importance.items():

        def format_share(key: str, shares: Mapping[str, float] = shares) -> str:
            return f"{100 * shares[key]:.0f}" if key in shares else EMPTY_CELL

        columns.append(Column(f"{figure} %", format_share))
    lines = format_markdown_table(keys, columns)
    return ["Share of each figure's variance that a key explains alone:", "", *lines]


def format_command(row: ResultRow) -> str:
    """Return the command that runs a row's point again."""
    return shlex.join(["edgeproof", "repro", *row.point.overrides])


def _format_csv(rows: Sequence[ResultRow], keys: Sequence[str]) -> str:
    """Return one line for each row, with all its values."""
    cells = [_make_csv_row(row, keys) for row in rows]
    return format_csv(list(cells[0]), [list(row.values()) for row in cells])


def _make_csv_row(row: ResultRow, keys: Sequence[str]) -> dict[str, object]:
    values = parse_overrides(row.point)
    return {
        "point": row.point.digest,
        "status": row.status,
        **{key: values.get(key, "") for key in keys},
        **{f"of_{name}": getattr(row.table_row, name, "") for name in ARTIFACT_FIELDS},
        **{name: row.get_figure(name) for name in results.FIGURE_NAMES},
        "pareto": row.on_pareto_front,
        "models_sha256": " ".join(f"{name}:{sha256}" for name, sha256 in row.models),
        "commit": row.commit,
        "changed_since_commit": " ".join(row.changed_files),
        "reason": row.reason,
        "command": format_command(row),
    }
