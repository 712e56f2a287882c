"""Read Markdown tables in tests."""

from __future__ import annotations

import re


def read_cells(text: str) -> list[dict[str, str]]:
    """Return the rows of the Markdown table in a text as GitHub reads it: cells by heading."""
    lines = [line for line in text.split("\n") if line.startswith("|")]
    table = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert all(re.fullmatch("-+:?", cell) for cell in table[1])
    assert {len(row) for row in table} == {len(table[0])}
    return [dict(zip(table[0], row, strict=True)) for row in table[2:]]
