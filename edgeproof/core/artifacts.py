"""What a runtime's export() hands back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lowered:
    """The outcome of an export: `notes` are remarks for the table (what a scheme left in floating point, say)."""

    notes: tuple[str, ...] = ()
