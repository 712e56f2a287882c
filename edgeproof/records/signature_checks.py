"""Check whether sessions of records are what was signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeproof.core import signatures
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ArtifactError, ConfigError
from edgeproof.core.signatures import SIGNATURE, SUMS
from edgeproof.records import record_files
from edgeproof.records.session_trust import get_session_directory

SignatureOutcome = Literal["verified", "unsigned", "tampered"]


@dataclass(frozen=True)
class SessionFinding:
    """The check of one session.

    Attributes:
        records: the number of records in the session.
        signer: the name or the key's fingerprint of the signer.
        problems: every file that is not what was signed.
    """

    session: Path
    outcome: SignatureOutcome
    records: int
    signer: str | None = None
    problems: tuple[str, ...] = ()


def verify_sessions(places: Sequence[Path], trusted: Mapping[bytes, str] | None) -> Iterator[SessionFinding]:
    """Check every session at or below the given directories.

    `trusted` maps public keys to names. A session that is signed by another key counts as tampered with; None trusts
    every key. Raises ConfigError if there are no records.
    """
    for session in list_sessions(places):
        count = len(record_files.list_directories(session))
        try:
            signature = signatures.verify_session(session)
        except ArtifactError as error:
            yield SessionFinding(session, "tampered", count, problems=(str(error),))
            continue
        if signature is None:
            problems = tuple(_list_record_problems(session))
            yield SessionFinding(session, "tampered" if problems else "unsigned", count, problems=problems)
            continue
        signer = signature.signer if trusted is None else trusted.get(signature.public_key)
        problems = tuple(_list_file_problems(session, signature.sums))
        if signer is None:
            problems = (f"{session} is signed by {signature.signer}, who is not an allowed signer", *problems)
        yield SessionFinding(session, "tampered" if problems else "verified", count, signer, problems)


def list_sessions(places: Sequence[Path]) -> list[Path]:
    """Return every session at or below the given directories that has records or a signature.

    Raises ConfigError for a path that is no directory, and if there is no session.
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
    existing = set(signatures.list_signed_files(session))
    for name in sorted(existing | set(sums)):
        if name not in existing:
            yield f"{session / name} is missing"
        elif name not in sums:
            yield f"{session / name} was added after the session was signed"
        elif sums[name] != hash_file(session / name):
            yield f"{session / name} was changed after it was signed"


def _list_record_problems(session: Path) -> Iterator[str]:
    """Yield the problems of unsigned records, each of which names its files by sha256."""
    for directory in record_files.list_directories(session):
        try:
            record = record_files.read(directory)
            for name in record.files:
                record.file(name)
        except ArtifactError as error:
            yield str(error)
