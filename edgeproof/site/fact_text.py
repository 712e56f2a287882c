"""Format fingerprints and conditions as pairs of a name and a text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

KIBIBYTES = re.compile(r"[0-9]{1,12}K")
BYTES_SUFFIX = "_bytes"
BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def format_facts(facts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested facts into names and texts: names are joined, sizes get binary units, None is 'unknown'."""
    texts: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            texts |= format_facts(value, f"{prefix}{name} ")
        elif name.endswith(BYTES_SUFFIX) and isinstance(value, int):
            texts[_format_name(prefix, name.removesuffix(BYTES_SUFFIX))] = format_size(value)
        else:
            texts[_format_name(prefix, name)] = _format_value(value)
    return texts


def _format_value(value: Any) -> str:
    """Return a value as text. Sizes of caches, such as '2048K', get binary units."""
    if value is None:
        return "unknown"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, str) and KIBIBYTES.fullmatch(value):
        return format_size(1024 * int(value[:-1]))
    return str(value)


def format_size(size_bytes: int) -> str:
    """Return a number of bytes with a binary unit, such as '7.6 GiB'."""
    size, unit = float(size_bytes), BINARY_UNITS[0]
    for next_unit in BINARY_UNITS[1:]:
        if abs(size) < 1024:
            break
        size, unit = size / 1024, next_unit
    return f"{size:.4g} {unit}"


def _format_name(prefix: str, name: str) -> str:
    return f"{prefix}{name}".replace("_", " ")
