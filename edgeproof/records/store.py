"""The store: all records in columns, in one Parquet file per device and month.

    results/store/index.json                              the state of each session when its lines were written
    results/store/device=<name>/month=<YYYY-MM>.parquet   one line per record (columns.py), sorted by cell

The store is derived from the records, whose raw arrays it does not hold. It can be deleted at any time. It is updated
session by session, and replaced as a whole. queries.py reads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeproof.core.directories import hash_file, write_atomically, write_json
from edgeproof.core.signatures import SIGNATURE, SUMS
from edgeproof.paths import RECORDS
from edgeproof.progress import Progress
from edgeproof.records import (
    columns,
    conditions,
    energy,
    fields,
    migrations,
    parquet_parts,
    record,
    record_files,
    record_parts,
    summaries,
)
from edgeproof.records.columns import StoreLine
from edgeproof.records.kinds import RECORD_FILE
from edgeproof.records.parquet_parts import name_part
from edgeproof.statistics import autocorrelation, estimates, percentiles

INDEX = "index.json"
# Modules that decide the content of lines. If one of them changes, all lines are made again.
MAKERS = [
    Path(str(module.__file__))
    for module in (
        *(summaries, columns, conditions, fields, record, record_parts, migrations, energy, parquet_parts),
        *(percentiles, autocorrelation, estimates),
    )
] + [Path(__file__)]


@dataclass(frozen=True)
class SessionState:
    """One session in the store.

    Attributes:
        stamp: changes whenever a record of the session or its signature changes.
        records: the number of lines.
        older: the number of records that have an older schema on disk.
        damaged: the reason for every record that could not be read.
        parts: the Parquet files that hold its lines.
    """

    stamp: str
    records: int
    older: int
    damaged: Sequence[str]
    parts: Sequence[str]


@dataclass(frozen=True)
class StoreState:
    """The sessions in the store by their keys."""

    sessions: Mapping[str, SessionState] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """The number of records in the store."""
        return sum(session.records for session in self.sessions.values())

    @property
    def damaged(self) -> list[str]:
        """The reason for every record that could not be read."""
        return [reason for session in self.sessions.values() for reason in session.damaged]

    @property
    def older(self) -> int:
        """The number of records that have an older schema on disk."""
        return sum(session.older for session in self.sessions.values())


def locate(root: Path) -> Path:
    """Return the directory of the store for the records below `root`. Another root than 'records' has its own store."""
    return root.with_name("store" if root.name == RECORDS.name else f"{root.name}_store")


def refresh(root: Path = RECORDS) -> StoreState:
    """Update the store from the records below `root` and return its state. Damaged records are skipped.

    Only sessions that changed are read. Raises EdgeproofError when the disk is full.
    """
    place, made_by = locate(root), _hash_makers()
    before = _read_index(place, made_by)
    stamps = {path.name: _stamp_session(path) for path in _list_sessions(root)}
    stale = sorted(key for key, stamp in stamps.items() if key not in before or before[key].stamp != stamp)
    deleted = set(before) - set(stamps)
    if not stale and not deleted:
        return StoreState(before)
    changed = {*stale, *deleted}
    with tempfile.TemporaryDirectory() as scratch, write_atomically(place) as out:
        fresh = Path(scratch, "fresh.parquet")
        updated = _write_stale_sessions(root, stale, stamps, fresh)
        fresh_parts = parquet_parts.list_parts(fresh)
        affected = {part for key in changed & set(before) for part in before[key].parts}
        unchanged = {part for key, session in before.items() if key not in deleted for part in session.parts} - affected
        for part in sorted(unchanged - fresh_parts):
            (out / part).parent.mkdir(parents=True, exist_ok=True)
            os.link(place / part, out / part)
        for part in sorted(affected | fresh_parts):
            parquet_parts.merge_part(place / part, fresh, changed, part, out / part)
        sessions = {**{key: session for key, session in before.items() if key not in deleted}, **updated}
        content = {key: asdict(session) for key, session in sessions.items()}
        write_json(out / INDEX, {"made_by": made_by, "sessions": content})
    return StoreState(sessions)


def read_state(root: Path = RECORDS) -> StoreState:
    """Return the state of the store as it is, even if another version wrote it; an empty state without a store."""
    try:
        return StoreState(_parse_sessions(_load_index(locate(root))))
    except (OSError, ValueError, KeyError, TypeError):
        return StoreState()


def _read_index(place: Path, made_by: str) -> dict[str, SessionState]:
    """Return the sessions in the store; none if the store is missing, damaged or written by another version."""
    try:
        index = _load_index(place)
        sessions = _parse_sessions(index) if index["made_by"] == made_by else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    parts = {part for session in sessions.values() for part in session.parts}
    return sessions if all((place / part).is_file() for part in parts) else {}


def _load_index(place: Path) -> Mapping[str, Any]:
    index: Mapping[str, Any] = json.loads((place / INDEX).read_text(encoding="utf-8"))
    return index


def _parse_sessions(index: Mapping[str, Any]) -> dict[str, SessionState]:
    return {key: SessionState(**session) for key, session in index["sessions"].items()}


def _hash_makers() -> str:
    return hashlib.sha256("".join(hash_file(path) for path in MAKERS).encode()).hexdigest()[:16]


def _list_sessions(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _stamp_session(session: Path) -> str:
    """Return a hash that changes when a record below a session, or its signature, is added, removed or rewritten."""
    digest = hashlib.sha256()
    for line in sorted(_list_file_states(str(session), "")):
        digest.update(line.encode())
    return digest.hexdigest()[:16]


def _list_file_states(directory: str, name: str) -> Iterator[str]:
    """Yield the path, time and size of every record and signature. Directories below a record are not searched."""
    below = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name in (RECORD_FILE, SUMS, SIGNATURE):
                state = entry.stat()
                yield f"{name}\0{entry.name}\0{state.st_mtime_ns}\0{state.st_size}\n"
                if entry.name == RECORD_FILE:
                    return
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                below.append(entry)
    for entry in below:
        yield from _list_file_states(entry.path, f"{name}/{entry.name}")


def _write_stale_sessions(
    root: Path, stale: Sequence[str], stamps: Mapping[str, str], fresh: Path
) -> dict[str, SessionState]:
    """Write the lines of the stale sessions to the file `fresh` and return their states."""
    states: dict[str, SessionState] = {}

    def read_lines() -> Iterator[StoreLine]:
        with Progress("reading records", len(stale)) as progress:
            for key in stale:
                damaged: list[str] = []
                records = record_files.read_all(root / key, damaged=damaged)
                lines = summaries.summarize_records(records, root, damaged=damaged)
                states[key] = SessionState(
                    stamp=stamps[key],
                    records=len(lines),
                    older=sum(line.schema_on_disk < record_files.SCHEMA for line in lines),
                    damaged=damaged,
                    parts=sorted({name_part(line.device, line.night) for line in lines}),
                )
                yield from lines
                progress.advance()

    parquet_parts.write_lines(read_lines(), fresh)
    return states
