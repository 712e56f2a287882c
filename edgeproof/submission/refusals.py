"""Reasons why records cannot be submitted, with equal reasons grouped, so that a message stays short."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# With the lines around them, a message has at most ten lines.
MAX_SHOWN_REASONS = 7


@dataclass(frozen=True)
class Refusal:
    """One reason: its place (a record, an artifact or a file), and the part of the reason that only this place has."""

    place: str
    reason: str
    detail: str = ""


def list_reasons(refusals: Sequence[Refusal], plural: str) -> list[str]:
    """Return one line for each distinct reason, the most frequent first, and one line for those not shown.

    A reason of one place names it. A reason of several says how many and names the first.

    Args:
        refusals: the reasons, in the order of their places.
        plural: noun for several places, such as 'records'.
    """
    groups: dict[str, list[Refusal]] = {}
    for refusal in refusals:
        groups.setdefault(refusal.reason, []).append(refusal)
    lines = [_format_group(group, plural) for group in sorted(groups.values(), key=len, reverse=True)]
    hidden = len(lines) - MAX_SHOWN_REASONS
    return lines if hidden <= 0 else [*lines[:MAX_SHOWN_REASONS], f"… and {hidden} other reason(s)"]


def split_problem(problem: str) -> Refusal:
    """Return a problem '<file>: <reason>' of the check as a Refusal."""
    place, _, reason = problem.partition(": ")
    return Refusal(place, reason)


def format_message(title: str, lines: Iterable[str], hint: str) -> str:
    """Return a message with a title, the reasons as a list, and a hint."""
    return "\n".join([title, *(f"  - {line}" for line in lines), hint])


def _format_group(group: Sequence[Refusal], plural: str) -> str:
    first = group[0]
    if len(group) == 1:
        return f"{first.place}: {first.reason}{first.detail}"
    return f"{len(group)} {plural}: {first.reason} (first: {first.place}{first.detail})"
