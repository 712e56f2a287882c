"""Read and write records. A record is the immutable outcome of one job; statistics are computed from it on read.

A record is a directory:

    record.json      what was measured, on what, under which conditions, with which verdict and reasons (record.py)
    latencies.npz    call_ns, invoke_ns, started_ns: one entry per inference, in order (performance runs)
    telemetry.csv    the state of the machine during the run
    user.conf        LoadGen's settings
    outputs.npz      outputs, or outputs_0, outputs_1, … of several ports: one row per test sample (accuracy runs)
    evidence.npz     the arrays that the quality is computed from, one row per resampling unit (accuracy runs)
    mlperf_log_*     LoadGen's own logs

Records lie in <session>/<runtime>/<model>.<scheme>/<scenario>.<process>.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeproof.core.directories import hash_file, write_json
from edgeproof.core.errors import ArtifactError
from edgeproof.core.regular_files import is_regular_file
from edgeproof.records import migrations
from edgeproof.records.kinds import RECORD_FILE
from edgeproof.records.outcomes import JobOutcome, RecordHeader
from edgeproof.records.record import MEASURE_AGAIN, Record
from edgeproof.records.session_trust import SessionTrust, find_repeated_sessions

SCHEMA = 3


def write(directory: Path, header: RecordHeader, outcome: JobOutcome) -> None:
    """Complete a record: write record.json, which names the sha256 of every other file in the directory."""
    write_content(directory, {**header.to_json(), **outcome.to_json()})


def write_content(directory: Path, content: Mapping[str, Any]) -> None:
    """Complete a record as `write` does, from the keys of record.json."""
    paths = [path for path in sorted(directory.iterdir()) if path.is_file() and path.name != RECORD_FILE]
    files = {path.name: hash_file(path) for path in paths}
    write_json(directory / RECORD_FILE, {"schema": SCHEMA, **content, "files": files})


def read_all(root: Path, *, damaged: list[str] | None = None, trust: SessionTrust | None = None) -> Iterator[Record]:
    """Yield every record below `root`, in the order of their paths.

    `trust` decides which sessions are refused; by default it is that of the project in the working directory. Raises
    ArtifactError for an unreadable or refused record and for a link, unless `damaged` is given: then the message is
    appended to it and the record is skipped.
    """
    directories, links = find_directories(root)
    if trust is None:
        trust = SessionTrust.load(find_repeated_sessions(directories))
    problems = [explain_link(link) for link in links]
    if problems and damaged is None:
        raise ArtifactError(problems[0])
    for directory in directories:
        try:
            trust.check(directory)
            yield read(directory)
        except ArtifactError as error:
            if damaged is None:
                raise
            damaged.append(str(error))
    if damaged is not None:
        damaged += problems


def read(directory: Path) -> Record:
    """Read one record and upgrade its content to this version's schema.

    Raises ArtifactError if it is missing, damaged, or of a newer schema.
    """
    path = directory / RECORD_FILE
    try:
        if not is_regular_file(path):
            raise ValueError("not a regular file")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
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


def explain_link(path: Path) -> str:
    """Return the problem of a link in place of a directory."""
    return f"{path} is a link. Records are read from regular files and directories only: put a copy in its place."


def list_directories(root: Path) -> list[Path]:
    """Return the directories of all records below `root`, sorted. Hidden directories hold unfinished sessions."""
    return find_directories(root)[0]


def find_directories(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the directories of all records below `root` and the links to other directories, both sorted.

    Links are not followed, except `root` itself. Directories below a record are not searched.
    """
    records: list[Path] = []
    links: list[Path] = []
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as entries:
                children = [entry for entry in entries if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            continue
        if any(entry.name == RECORD_FILE for entry in children):
            records.append(directory)
            continue
        links += [directory / entry.name for entry in children if entry.is_symlink() and entry.is_dir()]
        waiting += [directory / entry.name for entry in children if entry.is_dir(follow_symlinks=False)]
    return sorted(records), sorted(links)
