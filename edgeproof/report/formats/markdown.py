"""Markdown as GitHub shows it: the table, the meaning of its marks, and its notes."""

from __future__ import annotations

from edgeproof.report.grids import Grid, TableCell
from edgeproof.report.markdown_text import EMPTY_CELL, escape, format_cells

SUFFIX = ".md"


def render(grid: Grid) -> bytes:
    """Return a document with the title as its heading."""
    return f"# {escape(grid.title)}\n\n{render_block(grid)}".encode()


def render_block(grid: Grid) -> str:
    """Return the table and its notes, to be inserted into another document."""
    headings = [f"{heading.text} ({heading.group})" if heading.group else heading.text for heading in grid.headings]
    rows = [[_format_cell(cell) for cell in line] for line in grid.lines]
    numeric = [heading.numeric for heading in grid.headings]
    lines = format_cells([escape(text) for text in headings], rows, right_aligned=numeric)
    if not grid.lines:
        lines += ["", "No measurement matches this table."]
    if grid.captions:
        lines += ["", " ".join(map(escape, grid.captions))]
    if grid.notes:
        lines += ["", *(f"{number}. {escape(text)}" for number, text in enumerate(grid.notes, 1))]
    return "\n".join(lines) + "\n"


def _format_cell(cell: TableCell) -> str:
    if cell.is_empty:
        return EMPTY_CELL
    value = escape(cell.value or cell.refused)
    value = f"**{value}**" if cell.best else value
    notes = "".join(f"<sup>{number}</sup>" for number in cell.notes)
    return " ".join(part for part in (f"{'◆ ' if cell.pareto else ''}{value}{notes}", cell.interval) if part)
