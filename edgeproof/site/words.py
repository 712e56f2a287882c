"""Filters of the templates: counts with their nouns, dates, sizes, and descriptions of data sets."""

from __future__ import annotations

import ast
from collections.abc import Callable
from datetime import datetime
from typing import Any

from edgeproof.core import plugins
from edgeproof.core.errors import EdgeproofError
from edgeproof.site.fact_text import format_size


def count_noun(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun in the singular or the plural, such as '2 records'."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def format_time(text: str) -> str:
    """Return an ISO 8601 time as a date and minutes, such as '2026-01-02 03:04 UTC'; other text unchanged."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = " UTC" if moment.utcoffset() is not None and not moment.utcoffset() else f" {moment:%z}".rstrip()
    return f"{moment:%Y-%m-%d %H:%M}{zone}"


def describe_task(name: str) -> str:
    """Return the first sentence of a task's file, which names the data set, or the name of an unknown task."""
    try:
        docstring = ast.get_docstring(ast.parse(plugins.find_source("tasks", name).read_bytes()))
    except (EdgeproofError, OSError, SyntaxError, ValueError):
        return name
    return (docstring or "").partition("\n")[0].strip().rstrip(".") or name


FILTERS: dict[str, Callable[..., Any]] = {
    "count_noun": count_noun,
    "time": format_time,
    "size": format_size,
    "describe_task": describe_task,
}
