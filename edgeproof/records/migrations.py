"""Records of older schemas as this version's: one function a schema, each raising a record's content by one.

A record on disk is never changed by being read; `edgeproof migrate` writes older ones anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Content = dict[str, Any]


def upgrade(content: Mapping[str, Any], target: int) -> Content:
    """The content as schema `target` has it."""
    current = dict(content)
    while current["schema"] < target:
        schema = current["schema"]
        current = {**STEPS[schema](current), "schema": schema + 1}
    return current


def _from_1(content: Content) -> Content:
    """Schema 2 says which commit measured, and every record the sitting that it belongs to."""
    sitting = f"session {content.get('session', 0)}"
    return {"commit": None, "session_id": sitting, "attempt": 0, "compliance": None, **content}


STEPS: dict[int, Callable[[Content], Content]] = {1: _from_1}
