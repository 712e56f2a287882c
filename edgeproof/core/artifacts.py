"""What a runtime's export() hands back, and the input contract an artifact carries to the device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Lowered:
    """The outcome of an export: facts about the lowered files that the device-side Session needs.

    `session` is stored in the artifact's meta.json and handed to Session by way of the artifact directory;
    `notes` are remarks for the table (what a scheme left in floating point, say).
    """

    session: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
