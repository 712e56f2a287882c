"""Describe the properties of a JSON Schema with the docstrings of the dataclasses that it is made from."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

_ATTRIBUTE = re.compile(r"    (\w+(?:, \w+)*): (.*)")


def describe_properties(definition: dict[str, Any], cls: type[Any]) -> None:
    """Add the docstring of a dataclass to its definition, and the text on each attribute to its property."""
    summary, _, attributes = (inspect.getdoc(cls) or "").partition("\nAttributes:\n")
    definition["description"] = " ".join(summary.split())
    for schema in definition["properties"].values():
        schema.pop("title", None)  # the name again, with spaces
    for names, text in _read_attributes(attributes.splitlines()):
        for name in names.split(", "):
            if name in definition["properties"]:
                definition["properties"][name] = {"description": text, **definition["properties"][name]}


def describe_definitions(definitions: dict[str, Any], classes: Iterable[type[Any]]) -> None:
    """Describe the definitions that have the names of the classes."""
    for cls in classes:
        if cls.__name__ in definitions:
            describe_properties(definitions[cls.__name__], cls)


def _read_attributes(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names and the text of each entry, whose further lines are indented."""
    entries: list[tuple[str, str]] = []
    for line in lines:
        entry = _ATTRIBUTE.fullmatch(line)
        if entry:
            entries.append((entry[1], entry[2]))
        elif line.startswith("     ") and entries:
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {line.strip()}")
    return entries
