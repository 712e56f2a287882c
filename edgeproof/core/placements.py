"""Placements: the unit or kernel that runs each operator, and why some do not run where they should."""

from __future__ import annotations

from typing import NamedTuple


class PlacedOperator(NamedTuple):
    """One operator of the graph that the engine runs.

    `kind` is its type, `where` the provider, delegate or kernel that runs it. `reason` says why that is not the
    expected one, and is empty if it is. Records hold these field names.
    """

    name: str
    kind: str
    where: str
    reason: str = ""
