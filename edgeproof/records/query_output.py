"""Format the answers of queries: a table for people, CSV and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import duckdb

from edgeproof.core.errors import EdgeproofError
from edgeproof.core.plain_text import escape_controls
from edgeproof.records import query_limits
from edgeproof.records.csv_text import format_csv
from edgeproof.records.query_limits import TIMEOUT_S

BATCH_ROWS = 1000
MAX_ROWS = 1_000_000


class QueryAnswer(Protocol):
    """The result of a query, a cursor of Python's database API (PEP 249)."""

    @property
    def description(self) -> Sequence[Sequence[Any]]:
        """For each column a sequence that begins with its name."""

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        """Return the next rows, an empty list at the end."""


def format_answer(answer: QueryAnswer, form: str, *, timeout_s: float = TIMEOUT_S) -> str:
    """Return the whole answer as 'table', 'csv' or 'json' (one object per line).

    Raises EdgeproofError for an answer of more than MAX_ROWS, and for a query that fails while its rows are fetched,
    for example because its time `timeout_s` is over.
    """
    names = [str(column[0]) for column in answer.description]
    rows: list[tuple[Any, ...]] = []
    try:
        while batch := answer.fetchmany(BATCH_ROWS):
            rows += batch
            if len(rows) > MAX_ROWS:
                raise EdgeproofError(f"the answer has more than {MAX_ROWS:,} rows. Add a LIMIT, or aggregate.")
    except duckdb.Error as error:
        raise query_limits.translate_error(error, timeout_s) from None
    return {"table": _format_table, "csv": _format_csv, "json": _format_json}[form](names, rows)


def _format_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    texts = [[_format_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *texts, strict=True)]
    are_numbers = [all(isinstance(row[index], int | float) for row in rows) for index in range(len(names))]

    def format_row(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(cells, widths, are_numbers, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join([format_row(names), "  ".join("-" * width for width in widths), *map(format_row, texts)]) + "\n"


def _format_cell(value: Any) -> str:
    """Return a value on one line. Characters that would move the terminal's cursor are replaced."""
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _format_csv(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return format_csv(names, ([value.hex() if isinstance(value, bytes) else value for value in row] for row in rows))


def _format_json(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    objects = (dict(zip(names, row, strict=True)) for row in rows)
    return "".join(escape_controls(json.dumps(row, ensure_ascii=False, default=_to_text)) + "\n" for row in objects)


def _to_text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
