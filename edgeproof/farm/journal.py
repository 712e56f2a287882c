"""The journal of a farm's run: one event per line of JSON, on the disk before anything depends on it."""

from __future__ import annotations

import datetime
import json
import os
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgeproof.core.errors import EdgeproofError

EventKind = Literal["started", "done", "failed", "abandoned"]


@dataclass(frozen=True)
class JournalEvent:
    """An event of a job.

    Attributes:
        attempt: number of the attempt, from 1; 0 for an abandoned job.
        at: time in ISO 8601.
        reason: why the job failed or was abandoned.
    """

    kind: EventKind
    job: str
    device: str
    attempt: int
    at: str
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return asdict(self)


class Journal:
    """Appends events from any thread. Events that arrive together share one sync of the disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(path)
        self._file = path.open("a", encoding="utf-8")
        self._write_lock, self._sync_lock = threading.Lock(), threading.Lock()
        self._written = self._synced = 0

    def append(self, kind: EventKind, job: str, device: str, attempt: int, reason: str = "") -> None:
        """Append an event. It is on the disk when this returns."""
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = json.dumps(JournalEvent(kind, job, device, attempt, at, reason).to_json(), ensure_ascii=False)
        with self._write_lock:
            self._file.write(line + "\n")
            self._written += 1
            number = self._written
        with self._sync_lock:
            if self._synced < number:
                with self._write_lock:
                    self._file.flush()
                    covered = self._written
                os.fsync(self._file.fileno())
                self._synced = covered


def read(path: Path) -> list[JournalEvent]:
    """Return all events in order, without a last line that a crash cut short. Raises EdgeproofError if damaged."""
    if not path.is_file():
        return []
    complete, _, _ = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")
    try:
        return [JournalEvent(**json.loads(line)) for line in complete.splitlines()]
    except (ValueError, TypeError):
        raise EdgeproofError(f"{path} is damaged. Remove it: finished jobs are in results/history.") from None


def count_failures(events: Iterable[JournalEvent]) -> Counter[str]:
    """Return how often each job has failed since it was last done or abandoned."""
    counts: Counter[str] = Counter()
    for event in events:
        if event.kind == "failed":
            counts[event.job] += 1
        elif event.kind in ("done", "abandoned"):
            counts[event.job] = 0
    return counts


def latest_by_job(events: Iterable[JournalEvent]) -> dict[str, JournalEvent]:
    """Return the latest event of every job."""
    return {event.job: event for event in events}


def _drop_torn_line(path: Path) -> None:
    if path.is_file() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
