"""Placements: the unit or kernel that runs each operator, and why some do not run where they should."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

INTEGERS = ("int8", "int16")
LEFT_IN_FLOAT = "left in float by the quantizer"


class PlacedOperator(NamedTuple):
    """One operator of the graph that the engine runs.

    `kind` is its type, `where` the provider, delegate or kernel that runs it. `reason` says why that is not the
    expected one, and is empty if it is. Records hold these field names.
    """

    name: str
    kind: str
    where: str
    reason: str = ""


def explain_floats(
    operators: Sequence[PlacedOperator], conversions: Collection[str], reason: str = LEFT_IN_FLOAT
) -> list[PlacedOperator]:
    """Give the reason to each operator that computes in float, if others of the same file compute in integers.

    `where` must end with the element type. Operators of the types `conversions` only move or convert numbers. One that
    has a reason keeps it.
    """
    computing = [operator for operator in operators if operator.kind not in conversions]
    if not any(operator.where.endswith(INTEGERS) for operator in computing):
        return list(operators)
    floats = {operator for operator in computing if operator.where.endswith("float32") and not operator.reason}
    return [operator._replace(reason=reason) if operator in floats else operator for operator in operators]
