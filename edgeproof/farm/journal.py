"""What a farm's run has done, one line of JSON an event, on the disk before anything depends on it."""

from __future__ import annotations

import datetime
import json
import os
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from edgeproof.core.errors import EdgeproofError

EventKind = Literal["started", "done", "failed", "abandoned"]


@dataclass(frozen=True)
class JournalEvent:
    """Something that happened to a job; `reason` says why it failed."""

    kind: EventKind
    job: str
    device: str
    attempt: int
    at: str
    reason: str = ""


class Journal:
    """Appends events, whichever thread they come from; events that come together share one sync of the disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(path)
        self._file = path.open("a", encoding="utf-8")
        self._writing, self._syncing = threading.Lock(), threading.Lock()
        self._written = self._synced = 0

    def add(self, kind: EventKind, job: str, device: str, attempt: int, reason: str = "") -> None:
        """Write an event; it is on the disk when this returns."""
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = json.dumps(asdict(JournalEvent(kind, job, device, attempt, at, reason)), ensure_ascii=False)
        with self._writing:
            self._file.write(line + "\n")
            self._written += 1
            number = self._written
        with self._syncing:
            if self._synced < number:
                with self._writing:
                    self._file.flush()
                    covered = self._written
                os.fsync(self._file.fileno())
                self._synced = covered


def read(path: Path) -> list[JournalEvent]:
    """All events in their order; a last line that a crash cut short never happened. Raises EdgeproofError."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")
    try:
        return [JournalEvent(**json.loads(line)) for line in whole.splitlines()]
    except (ValueError, TypeError):
        raise EdgeproofError(f"{path} is damaged. Remove it: what is finished lies in results/history.") from None


def count_failures(events: Iterable[JournalEvent]) -> Counter[str]:
    """How often each job failed since it last ended."""
    counted: Counter[str] = Counter()
    for event in events:
        if event.kind == "failed":
            counted[event.job] += 1
        elif event.kind in ("done", "abandoned"):
            counted[event.job] = 0
    return counted


def latest_by_job(events: Iterable[JournalEvent]) -> dict[str, JournalEvent]:
    """The latest event of every job."""
    return {event.job: event for event in events}


def _drop_torn_line(path: Path) -> None:
    if path.is_file() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
