"""Markdown as GitHub shows it: the table, what its marks mean, and its notes."""

from __future__ import annotations

from edgeproof.report.grids import Grid, TableCell
from edgeproof.report.tables import NONE, escape

SUFFIX = ".md"


def render(grid: Grid) -> bytes:
    """A document of its own, with the title as its heading."""
    return f"# {escape(grid.title)}\n\n{render_block(grid)}".encode()


def render_block(grid: Grid) -> str:
    """The table and its notes, to stand inside another document."""
    headings = [f"{heading.text} ({heading.group})" if heading.group else heading.text for heading in grid.headings]
    rules = ["---:" if heading.numeric else "---" for heading in grid.headings]
    lines = [_line([escape(text) for text in headings]), "|" + "|".join(rules) + "|"]
    lines += [_line([_shown(cell) for cell in line]) for line in grid.lines]
    if not grid.lines:
        lines += ["", "Nothing was measured that this table asks for."]
    if grid.captions:
        lines += ["", " ".join(map(escape, grid.captions))]
    if grid.notes:
        lines += ["", *(f"{number}. {escape(text)}" for number, text in enumerate(grid.notes, 1))]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _shown(cell: TableCell) -> str:
    if cell.empty:
        return NONE
    value = escape(cell.value or cell.refused)
    value = f"**{value}**" if cell.best else value
    notes = "".join(f"<sup>{number}</sup>" for number in cell.notes)
    return " ".join(part for part in (f"{'◆ ' if cell.pareto else ''}{value}{notes}", cell.interval) if part)
