"""The journal of a farm's run: one event per line of JSON, written to the disk before anything depends on it."""

from __future__ import annotations

import datetime
import json
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from edgeproof.config.file_names import FileName

EventKind = Literal["started", "done", "failed", "abandoned"]
# The attempt number of an event that is no failure of the device: this host failed, or the job was abandoned.
HOST_FAILURE = 0
# A longer line is damaged: a reason has at most 500 characters.
MAX_LINE_BYTES = 100_000


@dataclass(frozen=True)
class JournalEvent:
    """An event of a job.

    Attributes:
        attempt: number of the device's attempt, from 1; 0 for an abandoned job and for a failure of this host.
        at: time in ISO 8601.
        reason: why the job failed or was abandoned.
    """

    kind: EventKind
    job: str
    device: FileName
    attempt: int
    at: str
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return asdict(self)


_EVENT = TypeAdapter(JournalEvent)


class Journal:
    """Appends events from any thread. Events that arrive together share one sync of the disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(path)
        self._file = path.open("a", encoding="utf-8", errors="replace")
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


def read(path: Path, damaged: list[str] | None = None) -> list[JournalEvent]:
    """Return all events in order, without a last line that a crash cut short.

    Damaged lines are skipped. One message in `damaged`, if it is given, says how many there are. Skipping them is safe,
    because the records in the history decide which jobs are finished.
    """
    events: list[JournalEvent] = []
    wrong: list[int] = []
    for number, line in enumerate(_read_lines(path), 1):
        try:
            events.append(_EVENT.validate_json(line, strict=True))
        except ValidationError:
            wrong.append(number)
    if wrong and damaged is not None:
        damaged.append(f"{path} has {len(wrong)} damaged line(s), the first is line {wrong[0]}")
    return events


def count_failures(events: Iterable[JournalEvent]) -> Counter[str]:
    """Return how often each job has failed on its device since it was last done or abandoned."""
    counts: Counter[str] = Counter()
    for event in events:
        if event.kind == "failed":
            counts[event.job] += event.attempt != HOST_FAILURE
        elif event.kind in ("done", "abandoned"):
            counts[event.job] = 0
    return counts


def latest_by_job(events: Iterable[JournalEvent]) -> dict[str, JournalEvent]:
    """Return the latest event of every job."""
    return {event.job: event for event in events}


def _read_lines(path: Path) -> Iterator[bytes]:
    """Yield every line that ends with a line break. A line that is too long is cut, so it is not valid JSON."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            rest = line
            while len(rest) == MAX_LINE_BYTES and not rest.endswith(b"\n"):
                rest = file.readline(MAX_LINE_BYTES)
            if rest.endswith(b"\n"):
                yield line


def _drop_torn_line(path: Path) -> None:
    """Remove a last line without a line break, which a crash during a write leaves."""
    if path.is_file() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
