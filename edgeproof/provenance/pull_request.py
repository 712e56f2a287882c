"""Summarize the changes of a table for a pull request, in GitHub's Markdown.

Names and reasons come from files of the pull request, so they are shown as code: never as markup, links or mentions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from edgeproof.core.plain_text import escape_controls
from edgeproof.provenance.table_changes import CellChange, Change, TableChanges
from edgeproof.report.captions import COVERAGE
from edgeproof.report.figure import Figure
from edgeproof.report.figures import FIGURES, choose_figure
from edgeproof.report.markdown_text import EMPTY_CELL, escape, format_cells
from edgeproof.report.row import Row
from edgeproof.statistics.estimates import Estimate

# A comment on GitHub holds 65,536 characters.
MAX_LINES = 50
MAX_REASON_CHARACTERS = 200
SMALLEST_PERCENT = 0.05  # smaller changes of a size are shown in bytes
_PAIRS = (("slower", "faster"), ("worse", "better"), ("larger", "smaller"))


def format_summary(changes: TableChanges, *, table: str, against: str) -> str:
    """Return the summary of a table's changes against a revision, as Markdown."""
    parts = [f"### edgeproof: {_code(table)} against {_code(against)}", ""]
    if changes.is_empty:
        return "\n".join([*parts, f"No cell changed. The table has {changes.unchanged} cells.", ""])
    shown = [cell for cell in changes.cells if cell.is_shown]
    others = [cell for cell in changes.cells if not cell.is_shown]
    parts += [*_count_changes(changes), ""]
    parts += _format_section("Changed", shown)
    parts += _format_verdicts([cell for cell in changes.cells if cell.has_other_verdict])
    parts += _format_rows("New", changes.new)
    parts += _format_rows("Gone", changes.gone)
    parts += _format_conditions(changes.cells)
    if others:
        summary = f"<details><summary>{len(others)} cell(s) in which no difference is shown</summary>"
        parts += [summary, "", *_format_section("", others), "</details>", ""]
    return "\n".join([*parts, *_explain(changes), ""])


def _count_changes(changes: TableChanges) -> list[str]:
    """Return one line for each figure with the number of its changes in each direction."""
    cells = changes.cells
    figures = (
        ("p50", [cell.time for cell in cells], _PAIRS[0]),
        (choose_figure("quality", [cell.after for cell in cells]).heading, [cell.quality for cell in cells], _PAIRS[1]),
        ("file size", [cell.size for cell in cells], _PAIRS[2]),
    )
    lines = []
    for name, list_of_changes, pair in figures:
        counts = Counter[str](change.verdict for change in list_of_changes if change is not None)
        words = [*pair, *(word for word in ("same", "no difference shown", "not compared") if counts[word])]
        if counts:
            lines.append(f"- **{escape(name)}**: {', '.join(f'{counts[word]} {word}' for word in words)}")
    others = {
        "new": len(changes.new),
        "gone": len(changes.gone),
        "with another verdict": sum(cell.has_other_verdict for cell in cells),
        "not measured again": changes.unchanged,
    }
    counted = [f"{count} {word}" for word, count in others.items() if count]
    return [*lines, *([f"- **cells**: {', '.join(counted)}"] if counted else [])]


def _format_section(heading: str, cells: Sequence[CellChange]) -> list[str]:
    """Return a table of cells with their figures before and after."""
    if not cells:
        return []
    rows = [cell.after for cell in cells]
    quality = choose_figure("quality", rows)
    columns: list[tuple[str, Callable[[CellChange], str]]] = [
        ("cell", lambda cell: _name_cell(cell.after)),
        (quality.title, lambda cell: _format_quality(cell, quality)),
        (FIGURES["p50"].title, _format_time),
        (FIGURES["size"].title, _format_size),
    ]
    lines = [[read(cell) for _, read in columns] for cell in cells[:MAX_LINES]]
    table = format_cells([escape(title) for title, _ in columns], lines)
    return [*([f"#### {heading}", ""] if heading else []), *table, *_count_more(cells), ""]


def _format_rows(heading: str, rows: Sequence[Row]) -> list[str]:
    """Return a table of cells that only one side has."""
    if not rows:
        return []
    figures = [choose_figure("quality", rows), FIGURES["p50"], FIGURES["size"]]
    lines = [
        [_name_cell(row), *(escape(figure.format_row_cell(row)) for figure in figures), _code(row.verdict)]
        for row in rows[:MAX_LINES]
    ]
    table = format_cells(["cell", *(escape(figure.title) for figure in figures), "verdict"], lines)
    return [f"#### {heading}", "", *table, *_count_more(rows), ""]


def _format_verdicts(cells: Sequence[CellChange]) -> list[str]:
    if not cells:
        return []
    lines = []
    for cell in cells[:MAX_LINES]:
        reasons = "; ".join(cell.after.reasons or cell.before.reasons)
        side = "" if cell.after.reasons else "before, "
        reason = f" ({side}{_code(reasons[:MAX_REASON_CHARACTERS])})" if reasons else ""
        lines.append(f"- {_name_cell(cell.after)}: {_code(cell.before.verdict)} → {_code(cell.after.verdict)}{reason}")
    return ["#### Another verdict", "", *lines, *_count_more(cells), ""]


def _format_conditions(cells: Sequence[CellChange]) -> list[str]:
    """Return the conditions that differ, and how many cells they are of."""
    counts = Counter(line for cell in cells for line in cell.unlike)
    if not counts:
        return []
    unlike = sum(bool(cell.unlike) for cell in cells)
    lines = [
        f"- {_code(line[:MAX_REASON_CHARACTERS])}{'' if count == unlike else f' ({count} cells)'}"
        for line, count in counts.most_common(MAX_LINES)
    ]
    text = (
        f"The times of {unlike} cell(s) were measured under other conditions, so they are not compared. Only ratios to "
        "a reference of the same session are."
    )
    return ["#### Other conditions", "", text, "", *lines, *_count_more(list(counts)), ""]


def _format_time(cell: CellChange) -> str:
    change, figure = cell.time, FIGURES["p50"]
    if change is None:
        return EMPTY_CELL
    verdict = _format_verdict(change) + (" (same artifact)" if change.is_shown and cell.has_same_artifact else "")
    if change.is_relative and change.value is not None:
        reference = _code(" ".join(cell.after.reference or ()))
        return f"relative to {reference}: {_format_ratio(change.value)}, {verdict}"
    ratio = "" if change.value is None else f"{_format_ratio(change.value)}, "
    return f"{_format_values(figure, cell)}<br>{ratio}{verdict}"


def _format_quality(cell: CellChange, quality: Figure) -> str:
    change = cell.quality
    if change is None:
        return EMPTY_CELL
    values = _format_values(quality, cell)
    if change.value is None or cell.after.metric is None:
        return f"{values}<br>{_format_verdict(change)}"
    difference = FIGURES["quality_difference"].for_metric(cell.after.metric).format_cell(change.value)
    return f"{values}<br>{escape(difference)}, {_format_verdict(change)}"


def _format_size(cell: CellChange) -> str:
    change, before = cell.size, cell.before.size_bytes
    if change is None:
        return EMPTY_CELL
    values = _format_values(FIGURES["size"], cell)
    if change.value is None or change.verdict == "same" or not before:
        return f"{values}<br>{_format_verdict(change)}"
    percent = 100 * change.value.value / before
    amount = f"{percent:+.1f}%" if abs(percent) >= SMALLEST_PERCENT else f"{change.value.value:+,.0f} bytes"
    return f"{values}<br>{amount}, {_format_verdict(change)}"


def _format_values(figure: Figure, cell: CellChange) -> str:
    """Return a figure before and after, or once if it reads the same."""
    before, after = (
        escape(figure.format_row_cell(row, with_interval=False) or EMPTY_CELL) for row in (cell.before, cell.after)
    )
    return before if before == after else f"{before} → {after}"


def _format_ratio(ratio: Estimate) -> str:
    return f"×{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def _format_verdict(change: Change) -> str:
    if change.is_shown:
        return f"**{change.verdict}**"
    return f"{change.verdict}: {change.reason}" if change.reason else change.verdict


def _name_cell(row: Row) -> str:
    return _code("/".join(row.key))


def _count_more(items: Sequence[object]) -> list[str]:
    return ["", f"… and {len(items) - MAX_LINES} more."] if len(items) > MAX_LINES else []


def _code(text: str) -> str:
    """Return text as a code span, in which nothing is markup, on one line and without the bars of a table."""
    plain = escape_controls(" ".join(text.split()), keep="")
    plain = plain.replace("`", "'").replace("|", "¦")
    return f"`{plain}`" if plain else EMPTY_CELL


def _explain(changes: TableChanges) -> list[str]:
    figures = [change for cell in changes.cells for change in (cell.time, cell.quality) if change and change.value]
    return [
        "<sub>Times are p50, as ratios of after to before; qualities are differences. Brackets are 95% intervals from "
        "those of both tables. A difference is shown if its interval lies on one side of 1, or of 0. The intervals of "
        f"{len(figures)} comparison(s) are not corrected for their number: where nothing changed, about one in twenty "
        f"shows a difference by chance. {COVERAGE} If the artifact is the same, its time differs by the session. "
        "Qualities are compared without pairing the samples, which makes their intervals wider. "
        "<code>edgeproof compare</code> compares two cells from their records.</sub>"
    ]
