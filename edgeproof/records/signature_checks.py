"""Check whether sessions of records are what was signed, and whether their records are consistent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeproof.core import signatures
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ArtifactError, ConfigError
from edgeproof.core.regular_files import list_content
from edgeproof.core.signatures import SIGNATURE, SUMS
from edgeproof.records import record_checks, record_files, session_checks
from edgeproof.records.record import Record
from edgeproof.records.session_trust import find_repeated_sessions, get_session_directory

REFUSED = "Links, pipes and devices are refused"
Recheck = Callable[[Record], Sequence[str]]
SignatureOutcome = Literal["verified", "unsigned", "tampered"]


@dataclass(frozen=True)
class SessionFinding:
    """The check of one session.

    Attributes:
        records: the number of records in the session.
        signer: the name or the key's fingerprint of the signer.
        problems: every file that is not what was signed, and every contradiction in a record.
    """

    session: Path
    outcome: SignatureOutcome
    records: int
    signer: str | None = None
    problems: tuple[str, ...] = ()


def verify_sessions(
    places: Sequence[Path], trusted: Mapping[bytes, str] | None, recheck: Recheck | None = None
) -> Iterator[SessionFinding]:
    """Check every session at or below the given directories: signatures, files, and the content of the records.

    Args:
        places: directories with records.
        trusted: maps public keys to names. A session that is signed by another key counts as tampered with; None trusts
            every key.
        recheck: returns the problems of a record's verdict, which packages above this one decide.

    Raises ConfigError if there are no records.
    """
    sessions = list_sessions(places)
    repeated = _find_repeated(sessions)
    for session in sessions:
        records, problems = _read_records(session)
        if session in repeated:
            problems.append(f"{session}: {repeated[session]}")
        problems += check_content(session, records, recheck)
        count = len(record_files.list_directories(session))
        try:
            signature = signatures.verify_session(session)
        except ArtifactError as error:
            yield SessionFinding(session, "tampered", count, problems=(str(error), *problems))
            continue
        if signature is None:
            problems += _list_special_files(session)
            yield SessionFinding(session, "tampered" if problems else "unsigned", count, problems=tuple(problems))
            continue
        # What differs from the signature is said first, and once.
        changed = list(_list_file_problems(session, signature.sums))
        problems = changed or problems
        signer = signature.signer if trusted is None else trusted.get(signature.public_key)
        if signer is None:
            problems = [f"{session} is signed by {signature.signer}, who is not an allowed signer", *problems]
        yield SessionFinding(session, "tampered" if problems else "verified", count, signer, tuple(problems))


def check_content(session: Path, records: Sequence[Record], recheck: Recheck | None) -> list[str]:
    """Return the contradictions in the records of one session, and the records that it lacks."""
    harness_p50_ns = record_checks.find_harness_p50_ns(records)
    problems = []
    for record in records:
        try:
            problems += record_checks.list_problems(record, harness_p50_ns)
            problems += [] if recheck is None else recheck(record)
        except ArtifactError as error:
            problems.append(str(error))
    return problems + session_checks.list_missing(session, records)


def _find_repeated(sessions: Sequence[Path]) -> dict[Path, str]:
    """Return the sessions whose id occurs twice below one directory of records. Other studies may have copies."""
    groups: dict[Path, list[Path]] = defaultdict(list)
    for session in sessions:
        groups[_find_root(session)] += record_files.list_directories(session)
    return {session: text for group in groups.values() for session, text in find_repeated_sessions(group).items()}


def _find_root(session: Path) -> Path:
    """Return the directory of records that a session belongs to. A farm's night is a directory between the two."""
    return next((parent for parent in session.parents if parent.name in ("records", "history")), session.parent)


def _read_records(session: Path) -> tuple[list[Record], list[str]]:
    """Return the readable records of a session and the problems of the others. Files are compared with their hashes."""
    records, problems = [], []
    for directory in record_files.list_directories(session):
        try:
            record = record_files.read(directory)
            for name in record.files:
                record.find_file(name)
            records.append(_require_parts(record))
        except ArtifactError as error:
            problems.append(str(error))
    return records, problems


def _require_parts(record: Record) -> Record:
    """Return the record. Raises ArtifactError for one that lacks a part that every reader needs."""
    _ = record.identity, record.verdict, record.reasons, record.result, record.job, record.card
    return record


def _list_special_files(session: Path) -> list[str]:
    return [f"{session / name} is not a regular file. {REFUSED}" for name in list_content(session).others]


def list_sessions(places: Sequence[Path]) -> list[Path]:
    """Return every session at or below the given directories that has records or a signature.

    Raises ConfigError for a path that is not a directory, and if there is no session.
    """
    sessions: set[Path] = set()
    for place in places:
        if not place.is_dir():
            raise ConfigError(f"{place} is not a directory. Name a directory with records.")
        sessions |= {get_session_directory(directory) for directory in record_files.list_directories(place)}
        signed = {path.parent for name in (SUMS, SIGNATURE) for path in place.rglob(name)}
        # Hidden directories hold unfinished sessions.
        sessions |= {
            session for session in signed if not any(part.startswith(".") for part in session.relative_to(place).parts)
        }
    if not sessions:
        raise ConfigError(f"there are no records below {', '.join(map(str, places))}.")
    return sorted(sessions)


def _list_file_problems(session: Path, sums: Mapping[str, str]) -> Iterator[str]:
    """Yield the files of a signed session that were removed, added or changed."""
    content = list_content(session)
    for name in content.others:
        yield f"{session / name} is not a regular file. {REFUSED}"
    existing = set(content.files) - {SUMS, SIGNATURE}
    for name in sorted(existing | set(sums)):
        if name not in existing:
            yield f"{session / name} is missing"
        elif name not in sums:
            yield f"{session / name} was added after the session was signed"
        elif sums[name] != hash_file(session / name):
            yield f"{session / name} was changed after it was signed"
