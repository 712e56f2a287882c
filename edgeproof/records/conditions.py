"""Conditions of measurements (device fingerprint, versions, settings) and their differences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from edgeproof.core.errors import EdgeproofError


class UnlikeConditions(EdgeproofError):
    """Two measurements were taken under different conditions."""


def require_alike(a: Mapping[str, Any], b: Mapping[str, Any], *, allow_unlike: bool) -> list[str]:
    """Return the differences of two sets of conditions. Raises UnlikeConditions for any, unless `allow_unlike`."""
    differences = list_differences(a, b)
    if differences and not allow_unlike:
        raise UnlikeConditions(
            f"measured under different conditions: {'; '.join(differences)}. Measure both under the same conditions, "
            "or compare them anyway with --unlike: the table then lists the differences."
        )
    return differences


def list_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return the conditions that differ, as 'key: a → b'. Keys of nested conditions are joined by dots."""
    first, second = dict(_flatten(a)), dict(_flatten(b))
    return [
        f"{key}: {_format_value(first, second, key)} → {_format_value(second, first, key)}"
        for key in sorted({*first, *second})
        if (key in first) != (key in second) or first[key] != second[key]
    ]


def _flatten(conditions: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in conditions.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _format_value(conditions: Mapping[str, Any], others: Mapping[str, Any], key: str) -> str:
    """Return a condition as text, in quotes where the other side would read the same, such as 1 and '1'."""
    if key not in conditions:
        return "absent"
    text, other_text = (
        side[key] if isinstance(side.get(key), str) else _format_json(side.get(key)) for side in (conditions, others)
    )
    return _format_json(conditions[key]) if text == other_text else text


def _format_json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
