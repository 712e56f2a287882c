"""The store: all records in columns, in one Parquet file per device and month.

    results/store/index.json                              the state of each session when its lines were written
    results/store/device=<name>/month=<YYYY-MM>.parquet   one line per record (columns.py), sorted by cell

The store is derived from the records, whose raw arrays it does not hold. It can be deleted at any time. It is updated
session by session, and replaced as a whole, by one process at a time. queries.py reads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeproof.core import file_locks, signatures
from edgeproof.core.directories import hash_file, write_atomically, write_json
from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import RECORDS
from edgeproof.progress import Progress
from edgeproof.records import (
    columns,
    conditions,
    energy,
    fields,
    latencies,
    migrations,
    parquet_parts,
    placement,
    record,
    record_checks,
    record_files,
    record_parts,
    session_ids,
    session_trust,
    summaries,
)
from edgeproof.records.allowed_signers import ALLOWED_SIGNERS
from edgeproof.records.columns import StoreLine
from edgeproof.records.parquet_parts import name_part
from edgeproof.records.session_ids import find_repeated, read_session_ids
from edgeproof.records.session_stamps import MISSING, list_sessions, stamp_session
from edgeproof.records.session_trust import SessionTrust, get_session_directory
from edgeproof.records.store_snapshot import link_or_copy, locate_lock
from edgeproof.statistics import effective_samples, estimates, metric, percentiles, proportions

INDEX = "index.json"
# The number of times that a session is read while other processes replace it, and the pause between two of them.
MAX_READS = 20
READ_PAUSE_S = 0.2
# Modules that decide the content of lines. If one of them changes, all lines are made again.
MAKERS = [
    Path(str(module.__file__))
    for module in (
        *(summaries, columns, conditions, fields, record, record_parts, migrations, energy, parquet_parts),
        *(latencies, placement, record_checks, session_trust, session_ids, signatures),
        *(percentiles, effective_samples, estimates, metric, proportions),
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
        ids: the ids of its records by the session's directory. A farm's night has a directory for each session.
        repeated: the problem of each session's directory whose id occurs elsewhere too. Its records are left out.
    """

    stamp: str
    records: int
    older: int
    damaged: Sequence[str]
    parts: Sequence[str]
    ids: Mapping[str, Sequence[str]]
    repeated: Mapping[str, str]


@dataclass(frozen=True)
class SessionPlan:
    """Facts about a session before its records are read. The attributes are those of SessionState."""

    stamp: str
    ids: Mapping[str, Sequence[str]]
    repeated: Mapping[str, str]


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

    Only sessions that changed are read. Processes that update the same store wait for each other. Raises EdgeproofError
    when the store cannot be written, and ConfigError when the project's allowed signers cannot be read.
    """
    place, made_by = locate(root), _hash_makers()
    current = _read_index(place, made_by)
    if _is_current(current, _stamp_sessions(root)):
        return StoreState(current)
    try:
        with file_locks.hold(locate_lock(place)):
            return _update(root, place, made_by)
    except OSError as error:
        raise EdgeproofError(
            f"could not update {place}: {error.strerror or error}. Fix its permissions, or read it with --as-is."
        ) from None


def _update(root: Path, place: Path, made_by: str) -> StoreState:
    """Update the store, whose lock is held, unless another process has just done it."""
    before = _read_index(place, made_by)
    stamps = _stamp_sessions(root)
    if _is_current(before, stamps):
        return StoreState(before)
    stale = {key for key, stamp in stamps.items() if key not in before or before[key].stamp != stamp}
    deleted = set(before) - set(stamps)
    ids = {key: before[key].ids for key in stamps if key not in stale} | {key: _read_ids(root, key) for key in stale}
    repeated = find_repeated({session: own for sessions in ids.values() for session, own in sessions.items()})
    # A copy that appears or disappears changes the lines of the session that it was copied from.
    stale |= {key for key in stamps if key in before and before[key].repeated != _select(repeated, ids[key])}
    changed = {*stale, *deleted}
    with tempfile.TemporaryDirectory() as scratch, write_atomically(place) as out:
        fresh = Path(scratch, "fresh.parquet")
        plans = {key: SessionPlan(stamps[key], ids[key], _select(repeated, ids[key])) for key in sorted(stale)}
        updated = _write_stale_sessions(root, plans, fresh)
        kept = {key: session for key, session in before.items() if key not in changed}
        fresh_parts = parquet_parts.list_parts(fresh)
        affected = {part for key in changed & set(before) for part in before[key].parts} | fresh_parts
        for part in sorted({part for session in kept.values() for part in session.parts} - affected):
            (out / part).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(place / part, out / part)
        for part in sorted(affected):
            # Without a valid index, the old parts may hold lines of sessions that no longer exist.
            old = place / part if before else None
            parquet_parts.merge_part(old, fresh, changed, part, out / part)
        sessions = {**kept, **updated}
        content = {key: asdict(session) for key, session in sessions.items()}
        write_json(out / INDEX, {"made_by": made_by, "sessions": content})
    return StoreState(sessions)


def _is_current(sessions: Mapping[str, SessionState], stamps: Mapping[str, str]) -> bool:
    return {key: session.stamp for key, session in sessions.items()} == stamps


def _stamp_sessions(root: Path) -> dict[str, str]:
    stamps = {path.name: stamp_session(path) for path in list_sessions(root)}
    return {key: stamp for key, stamp in stamps.items() if stamp != MISSING}


def _read_ids(root: Path, key: str) -> dict[str, list[str]]:
    """Return the ids of the records of each session's directory below root/key. Names are relative to `root`."""
    ids: dict[str, set[str]] = defaultdict(set)
    for directory, session_id in read_session_ids(record_files.list_directories(root / key)).items():
        ids[os.path.relpath(get_session_directory(directory), root)].add(session_id)
    return {session: sorted(own) for session, own in ids.items()}


def _select(repeated: Mapping[str, str], ids: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {session: problem for session, problem in repeated.items() if session in ids}


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
    """Return a hash of everything besides the records that decides the lines: the code and the trusted signers."""
    makers = [hash_file(path) for path in MAKERS]
    makers.append(hash_file(ALLOWED_SIGNERS) if ALLOWED_SIGNERS.is_file() else "")
    return hashlib.sha256("".join(makers).encode()).hexdigest()[:16]


def _write_stale_sessions(root: Path, plans: Mapping[str, SessionPlan], fresh: Path) -> dict[str, SessionState]:
    """Write the lines of the stale sessions to the file `fresh` and return their states."""
    states: dict[str, SessionState] = {}

    def read_lines() -> Iterator[StoreLine]:
        with Progress("reading records", len(plans)) as progress:
            for key, plan in plans.items():
                states[key], lines = _read_session(root, key, plan)
                yield from lines
                progress.advance()

    parquet_parts.write_lines(read_lines(), fresh)
    return {key: state for key, state in states.items() if state.stamp != MISSING}


def _read_session(root: Path, key: str, plan: SessionPlan) -> tuple[SessionState, list[StoreLine]]:
    """Read a session, again if it is replaced in the meantime. Return its state and its lines.

    Raises EdgeproofError for a session that is replaced all the time.
    """
    repeated = {root / session: problem for session, problem in plan.repeated.items()}
    for _ in range(MAX_READS):
        stamp = stamp_session(root / key)
        damaged: list[str] = []
        lines: list[StoreLine] = []
        if (root / key).is_symlink():
            damaged.append(record_files.explain_link(root / key))
        else:
            records = record_files.read_all(root / key, damaged=damaged, trust=SessionTrust.load(repeated))
            lines = summaries.summarize_records(records, root, damaged=damaged)
        if stamp == stamp_session(root / key):
            break
        time.sleep(READ_PAUSE_S)
    else:
        raise EdgeproofError(f"{root / key} changes all the time. Try again when the process that writes it has ended.")
    if stamp == MISSING:
        lines, damaged = [], []
    state = SessionState(
        stamp=stamp,
        records=len(lines),
        older=sum(line.schema_on_disk < record_files.SCHEMA for line in lines),
        damaged=damaged,
        parts=sorted({name_part(line.device, line.night) for line in lines}),
        ids=plan.ids if stamp == plan.stamp else _read_ids(root, key),
        repeated=dict(plan.repeated),
    )
    return state, lines
