"""The history of a federation: one entry per round, and the totals that a study reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

# Rejections of one round that are stored with their reason. All are counted.
SHOWN_REJECTIONS = 10


@dataclass(frozen=True)
class Round:
    """The outcome of a round.

    Attributes:
        asked, used, dropped, late, rejected: numbers of clients. Without a used update the model stays as it was.
        reasons: for some rejected clients, 'client <n>: <reason>'.
        bytes_up, bytes_down: lengths of all messages of the round.
        quality: quality of the global model on the validation split after the round, if it was measured.
    """

    number: int
    asked: int
    used: int
    dropped: int
    late: int
    rejected: int
    reasons: tuple[str, ...]
    bytes_up: int
    bytes_down: int
    quality: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Round:
        """Return the round that `content` describes."""
        return cls(**{**content, "reasons": tuple(content["reasons"])})


def sum_rounds(rounds: Sequence[Round]) -> dict[str, int]:
    """Return the totals over all rounds, and the number of rounds in which no update was used."""
    names = ("asked", "used", "dropped", "late", "rejected", "bytes_up", "bytes_down")
    totals = {name: sum(getattr(entry, name) for entry in rounds) for name in names}
    return {"rounds": len(rounds), "empty_rounds": sum(not entry.used for entry in rounds), **totals}


def list_curve(rounds: Sequence[Round]) -> dict[str, list[Any]]:
    """Return the measured rounds as columns: the round, the bytes exchanged until then, and the quality."""
    curve: dict[str, list[Any]] = {"round": [], "bytes": [], "quality": []}
    exchanged_bytes = 0
    for entry in rounds:
        exchanged_bytes += entry.bytes_up + entry.bytes_down
        if entry.quality is not None:
            curve["round"].append(entry.number)
            curve["bytes"].append(exchanged_bytes)
            curve["quality"].append(entry.quality)
    return curve
