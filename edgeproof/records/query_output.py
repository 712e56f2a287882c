"""Answers of the store as text: a table for people, CSV and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from edgeproof.records.csv_text import format_csv

BATCH = 1000


class QueryAnswer(Protocol):
    """What a query returns (PEP 249)."""

    @property
    def description(self) -> Sequence[Sequence[Any]]:
        """A sequence a column, its name first."""

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        """The next rows, none at the end."""


def format_answer(answer: QueryAnswer, form: str) -> str:
    """The whole answer as 'table', 'csv' or 'json' (one object a line)."""
    names = [str(column[0]) for column in answer.description]
    lines = [line for batch in iter(lambda: answer.fetchmany(BATCH), []) for line in batch]
    return {"table": _table, "csv": _csv, "json": _json}[form](names, lines)


def _table(names: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    texts = [[_text(value) for value in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(names, *texts, strict=True)]
    numbers = [all(isinstance(line[place], int | float) for line in lines) for place in range(len(names))]

    def joined(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, numbers, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join([joined(names), "  ".join("-" * width for width in widths), *map(joined, texts)]) + "\n"


def _text(value: Any) -> str:
    """A value in one line, none of whose characters moves the terminal's cursor."""
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _csv(names: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    return format_csv(names, ([value.hex() if isinstance(value, bytes) else value for value in line] for line in lines))


def _json(names: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    objects = (dict(zip(names, line, strict=True)) for line in lines)
    return "".join(json.dumps(line, ensure_ascii=False, default=_plain) + "\n" for line in objects)


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
