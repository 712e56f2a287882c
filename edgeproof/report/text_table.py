"""Tables in plain text, for explanations in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

MAX_CELL = 44
LEFT_COLUMNS = 2


def format_text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose first two columns stand on the left and all others on the right.

    Of a long text the end is kept, because engines put the operator's own name last.
    """
    lines = [[_shorten(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [f"  {_join(line, widths)}".rstrip() for line in lines]


def _join(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if place < LEFT_COLUMNS else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells)


def _shorten(cell: str) -> str:
    text = " ".join(cell.split())
    return text if len(text) <= MAX_CELL else "…" + text[1 - MAX_CELL :]
