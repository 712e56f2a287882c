"""Migrations of record.json: one function for each older schema, which upgrades the content to the next schema.

Reading a record upgrades its content in memory and never changes the file. session_migration.py rewrites files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from edgeproof.records.record_parts import QualityResult
from edgeproof.statistics.metric import ACCURACY, ACCURACY_NAME
from edgeproof.statistics.proportions import estimate_proportion

Content = dict[str, Any]


def upgrade(content: Mapping[str, Any], target: int) -> Content:
    """Return the content in schema `target`."""
    current = dict(content)
    while current["schema"] < target:
        schema = current["schema"]
        current = {**STEPS[schema](current), "schema": schema + 1}
    return current


def _upgrade_from_1(content: Content) -> Content:
    """Add the keys of schema 2: the commit that measured, the session's unique name, attempt and compliance test."""
    session_id = f"session {content.get('session', 0)}"
    return {"commit": None, "session_id": session_id, "attempt": 0, "compliance": None, **content}


def _upgrade_from_2(content: Content) -> Content:
    """Replace the count of correct samples by a quality. A damaged count is kept, and raises when it is used."""
    upgraded = {key: value for key, value in content.items() if key != "accuracy"}
    if "accuracy" in content:
        upgraded["quality"] = _describe_accuracy(content["accuracy"])
    return upgraded


def _describe_accuracy(count: Any) -> Any:
    correct, total = (count.get(key) for key in ("correct", "total")) if isinstance(count, dict) else (None, None)
    if type(correct) is not int or type(total) is not int or not 0 <= correct <= total or total == 0:
        return count
    return asdict(QualityResult.build(ACCURACY_NAME, ACCURACY, estimate_proportion(correct, total), total))


STEPS: dict[int, Callable[[Content], Content]] = {1: _upgrade_from_1, 2: _upgrade_from_2}
