"""The placement of an artifact's operators, as a record holds it and as tables show it.

The placement in a record lists the 'operators' of core/placements.py, or gives the reason why it is 'missing'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgeproof.records.fields import parse_fields

MAX_NAMES = 3


@dataclass(frozen=True)
class OperatorPlacement:
    """The placement of one operator. Without a reason, it runs on the expected unit."""

    name: str
    kind: str
    where: str
    reason: str = ""


@dataclass(frozen=True)
class Fallback:
    """Operators of one kind that do not run on the expected unit, for the same reason.

    Attributes:
        where: the provider, delegate or kernel that runs them instead.
        count: the number of operators.
        names: the names of the first of them.
    """

    kind: str
    where: str
    reason: str
    count: int
    names: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return the operators, the kernel that runs them, and the reason, as one line."""
        names = ", ".join(self.names) + (", …" if self.count > len(self.names) else "")
        return f"{self.count} × {self.kind} on {self.where}: {self.reason} ({names})"


@dataclass(frozen=True)
class PlacementSummary:
    """The number of operators, how many of them run on the expected unit, and the others by kind and reason."""

    expected: int
    operators: int
    fallbacks: tuple[Fallback, ...] = ()

    @property
    def share(self) -> float:
        """The share of the operators that run on the expected unit."""
        return self.expected / self.operators if self.operators else 1.0

    @property
    def is_complete(self) -> bool:
        """True if all operators run on the expected unit."""
        return self.expected == self.operators

    def __str__(self) -> str:
        return f"{self.expected} of {self.operators}"

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PlacementSummary:
        """Parse plain data. Raises KeyError or TypeError."""
        fallbacks = tuple(parse_fields(Fallback, fallback, "fallbacks") for fallback in content["fallbacks"])
        return parse_fields(cls, content, fallbacks=fallbacks)


def parse_operators(content: Mapping[str, Any]) -> list[OperatorPlacement]:
    """Parse the operators of a record's placement; none if it is missing. Raises KeyError or TypeError."""
    place = "placement.operators"
    return [parse_fields(OperatorPlacement, operator, place) for operator in content.get("operators", [])]


def summarize_placement(operators: Sequence[OperatorPlacement]) -> PlacementSummary | None:
    """Return the summary of the operators, or None if there are none."""
    if not operators:
        return None
    groups: dict[tuple[str, str, str], list[str]] = {}
    for operator in operators:
        if operator.reason:
            groups.setdefault((operator.kind, operator.where, operator.reason), []).append(operator.name)
    fallbacks = tuple(Fallback(*key, len(names), tuple(names[:MAX_NAMES])) for key, names in groups.items())
    expected = len(operators) - sum(fallback.count for fallback in fallbacks)
    return PlacementSummary(expected, len(operators), fallbacks)
