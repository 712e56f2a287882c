"""Migrations of record.json: one function for each older schema, which upgrades the content by one schema.

Reading a record upgrades its content in memory and never changes the file. session_migration.py rewrites files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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


STEPS: dict[int, Callable[[Content], Content]] = {1: _upgrade_from_1}
