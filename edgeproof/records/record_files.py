"""Read and write records. A record is the immutable outcome of one job; statistics are computed from it on read.

A record is a directory:

    record.json      what was measured, on what, under which conditions, with which verdict and reasons (record.py)
    latencies.npz    call_ns, invoke_ns, started_ns: one entry per inference, in order (performance runs)
    telemetry.csv    the state of the machine during the run
    user.conf        LoadGen's settings
    outputs.npz      outputs and correct, one row per test sample (accuracy runs)
    mlperf_log_*     LoadGen's own logs

Records lie in <session>/<runtime>/<model>.<scheme>/<scenario>.<process>.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeproof.core import signatures
from edgeproof.core.directories import hash_file, write_json
from edgeproof.core.errors import ArtifactError
from edgeproof.records import migrations
from edgeproof.records.kinds import RECORD_FILE
from edgeproof.records.outcomes import JobOutcome, RecordHeader
from edgeproof.records.record import MEASURE_AGAIN, Record

SCHEMA = 2
# The number of directories between a session and its records.
_LEVELS = 3

_Signatures = dict[Path, signatures.SessionSignature | ArtifactError | None]


def write(directory: Path, header: RecordHeader, outcome: JobOutcome) -> None:
    """Complete a record: write record.json, which names the sha256 of every other file in the directory."""
    write_content(directory, {**header.to_json(), **outcome.to_json()})


def write_content(directory: Path, content: Mapping[str, Any]) -> None:
    """Complete a record as `write` does, from the keys of record.json."""
    paths = [path for path in sorted(directory.iterdir()) if path.is_file() and path.name != RECORD_FILE]
    files = {path.name: hash_file(path) for path in paths}
    write_json(directory / RECORD_FILE, {"schema": SCHEMA, **content, "files": files})


def read_all(root: Path, *, damaged: list[str] | None = None) -> Iterator[Record]:
    """Yield every record below `root`, in the order of their paths.

    Raises ArtifactError for an unreadable record, unless `damaged` is given: then the message is appended to it and the
    record is skipped.
    """
    session_signatures: _Signatures = {}
    for directory in list_directories(root):
        try:
            _verify_signature(directory, session_signatures)
            yield read(directory)
        except ArtifactError as error:
            if damaged is None:
                raise
            damaged.append(str(error))


def read(directory: Path) -> Record:
    """Read one record and upgrade its content to this version's schema.

    Raises ArtifactError if it is missing, damaged, or of a newer schema.
    """
    path = directory / RECORD_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ArtifactError(f"{path} is missing or damaged. {MEASURE_AGAIN}") from None
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} is missing or damaged. {MEASURE_AGAIN}")
    schema = content.get("schema")
    if schema == SCHEMA:
        return Record(content, directory, SCHEMA)
    if type(schema) is not int or schema not in migrations.STEPS:
        raise ArtifactError(
            f"{path} has schema {schema}, this version reads {min(migrations.STEPS)} to {SCHEMA}. "
            "Read it with the edgeproof that wrote it, or measure again."
        )
    return Record(migrations.upgrade(content, SCHEMA), directory, schema)


def list_directories(root: Path) -> list[Path]:
    """Return the directories of all records below `root`, sorted. Hidden directories hold unfinished sessions."""
    directories = [path.parent for path in root.rglob(RECORD_FILE)]
    return sorted(
        path for path in directories if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def get_session_directory(directory: Path) -> Path:
    """Return the directory of the session that a record's directory belongs to."""
    parents = directory.parents if len(directory.parents) >= _LEVELS else directory.absolute().parents
    return parents[min(_LEVELS, len(parents)) - 1]


def _verify_signature(directory: Path, session_signatures: _Signatures) -> None:
    """Raise ArtifactError for a record that differs from its session's signature.

    `session_signatures` caches the signature of each session.
    """
    session = get_session_directory(directory)
    if session not in session_signatures:
        try:
            session_signatures[session] = signatures.verify_session(session)
        except ArtifactError as error:
            session_signatures[session] = error
    signature = session_signatures[session]
    if isinstance(signature, ArtifactError):
        raise ArtifactError(f"{directory / RECORD_FILE} can't be trusted: {signature}")
    if signature is not None:
        path, name = directory / RECORD_FILE, Path(*directory.absolute().parts[-_LEVELS:], RECORD_FILE).as_posix()
        if signature.sums.get(name) != hash_file(path):
            raise ArtifactError(f"{path} was changed after it was signed. {MEASURE_AGAIN}")
