"""Find records that are missing from a session: gaps in its order, in the processes, and in the attempts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgeproof.records.record import Record
from edgeproof.records.record_parts import RecordIdentity

SHOWN_NUMBERS = 10


def list_missing(session: Path, records: Sequence[Record]) -> list[str]:
    """Return the problems of a session from which records were removed. The last one of its order is not missed."""
    return [f"{session}: {problem}" for problem in (*_find_missing_runs(records), *_find_gaps_in_order(records))]


def _find_missing_runs(records: Iterable[Record]) -> Iterator[str]:
    """Yield the processes and attempts that a session lacks. New records hold the number of planned processes."""
    attempts: dict[tuple[str, ...], dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    planned: dict[tuple[str, ...], int] = defaultdict(int)
    for record in records:
        key = _get_key(record.identity)
        attempts[key][record.identity.process].add(record.identity.attempt)
        planned[key] = max(planned[key], record.identity.process + 1, _read_planned(record))
    for key, processes in sorted(attempts.items()):
        name = "/".join(part for part in key if part)
        missing = set(range(planned[key])) - set(processes)
        if missing:
            yield f"{name} has no record of process {_format_numbers(missing)} (of {planned[key]})"
        for process, numbers in sorted(processes.items()):
            lost = set(range(max(numbers) + 1)) - numbers
            if lost:
                yield f"{name}, process {process}, has no record of attempt {_format_numbers(lost)}"


def _find_gaps_in_order(records: Sequence[Record]) -> Iterator[str]:
    """Yield the places in the session's order that no record has. Records of older versions may have no order."""
    orders = {record.content.get("order") for record in records}
    places = {order for order in orders if isinstance(order, int)}
    if places and len(places) == len(orders):
        missing = set(range(max(places) + 1)) - places
        if missing:
            yield f"it has no record of place {_format_numbers(missing)} in its order"


def _get_key(identity: RecordIdentity) -> tuple[str, ...]:
    return identity.runtime, identity.model, identity.scheme, identity.scenario, identity.compliance or ""


def _read_planned(record: Record) -> int:
    planned = record.content.get("processes")
    return planned if isinstance(planned, int) else 0


def _format_numbers(numbers: Iterable[int]) -> str:
    ordered = sorted(numbers)
    shown = ", ".join(map(str, ordered[:SHOWN_NUMBERS]))
    return shown + (", …" if len(ordered) > SHOWN_NUMBERS else "")
