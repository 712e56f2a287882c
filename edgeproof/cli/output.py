"""Print for people: every command prints through `show`, so that no text from outside controls the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from edgeproof.core.plain_text import escape_controls


def show(*texts: object, sep: str = " ", end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Print like print(), with control characters in the texts escaped. Line breaks and tabs stay."""
    print(*(escape_controls(str(text)) for text in texts), sep=sep, end=end, file=file or sys.stdout, flush=flush)


def show_line(line: str) -> None:
    """Print one line without line breaks and control characters, which an answer from outside may contain."""
    show("".join(letter if letter.isprintable() else " " for letter in line), flush=True)


def format_columns(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of words as text in which the words of a column begin at the same place."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
