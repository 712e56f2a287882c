"""Records: the immutable outcome of one job, with its verdict. Statistics are computed from them on read.

A record is a directory:

    record.json      what was measured, on what, under which conditions, with which verdict and reasons
    latencies.npz    call_ns, invoke_ns, started_ns: one entry an inference, in order (performance runs)
    telemetry.csv    what the machine did meanwhile
    user.conf        LoadGen's settings
    outputs.npz      outputs and correct, one row a test sample (accuracy runs)
    mlperf_log_*     LoadGen's own logs
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgeproof.core import signatures
from edgeproof.core.directories import hash_file, write_json
from edgeproof.core.errors import ArtifactError
from edgeproof.records import migrations

SCHEMA = 2
FILE = "record.json"
ACCURACY = "accuracy"
INTERLEAVED = "in_turns"
PROFILE = "profile"
# What a record may be of, instead of a scenario.
UNTIMED = (ACCURACY, INTERLEAVED, PROFILE, "estimate", "instructions", "unsupported")
# The method of a model that no study made: it came as a file.
EXTERNAL_METHOD = "brought"
_MEASURE_AGAIN = "Measure again: raise bench.session in the study, then 'make repro'."
_UPDATE = "Read it with the edgeproof that wrote it, or measure again."

Verdict = Literal["valid", "invalid", "unsupported", "error"]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Record:
    """A record read back: its content as this version's schema has it, where its arrays lie, the schema on disk."""

    content: Mapping[str, Any]
    directory: Path
    schema: int = SCHEMA

    @property
    def verdict(self) -> Verdict:
        """valid, invalid, unsupported or error."""
        verdict: Verdict = self.content["verdict"]
        return verdict

    def array(self, file: str, name: str) -> Array:
        """One of the record's raw arrays. Raises ArtifactError when it is missing or damaged."""
        with np.load(self.file(file), allow_pickle=False) as arrays:
            found: Array = arrays[name]
        return found

    def file(self, name: str) -> Path:
        """Where one of the record's files lies. Raises ArtifactError when it is missing or damaged."""
        path = self.directory / name
        if not path.is_file() or hash_file(path) != self.content["files"].get(name):
            raise ArtifactError(f"{path} is missing or damaged. {_MEASURE_AGAIN}")
        return path


def write(directory: Path, content: Mapping[str, Any]) -> None:
    """Complete a record: name the sha256 of every file that lies beside it."""
    files = {path.name: hash_file(path) for path in sorted(directory.iterdir()) if path.is_file() and path.name != FILE}
    write_json(directory / FILE, {"schema": SCHEMA, **content, "files": files})


def read_all(root: Path, *, damaged: list[str] | None = None) -> Iterator[Record]:
    """Every record below `root`, in the order of their paths.

    One that cannot be read raises ArtifactError; where a list of the `damaged` is given, it is told there and left out.
    """
    signed: dict[Path, signatures.SessionSignature | ArtifactError | None] = {}
    for directory in list_directories(root):
        try:
            _check_signed(directory, signed)
            yield read(directory)
        except ArtifactError as error:
            if damaged is None:
                raise
            damaged.append(str(error))


def _check_signed(directory: Path, known: dict[Path, signatures.SessionSignature | ArtifactError | None]) -> None:
    """Raises ArtifactError where a record is not what its session's signature says; `known` are sessions seen."""
    session = get_session_directory(directory)
    if session not in known:
        try:
            known[session] = signatures.verify_session(session)
        except ArtifactError as error:
            known[session] = error
    told = known[session]
    if isinstance(told, ArtifactError):
        raise ArtifactError(f"{directory / FILE} can't be believed: {told}")
    if told is not None:
        path, name = directory / FILE, Path(*directory.absolute().parts[-3:], FILE).as_posix()
        if told.sums.get(name) != hash_file(path):
            raise ArtifactError(f"{path} was changed after it was signed. {_MEASURE_AGAIN}")


def get_session_directory(directory: Path) -> Path:
    """The session that a record's directory belongs to: <session>/<runtime>/<model>.<scheme>/<scenario>.<process>."""
    known = directory.parents if len(directory.parents) > 2 else directory.absolute().parents
    return known[min(2, len(known) - 1)]


def list_directories(root: Path) -> list[Path]:
    """Where records lie below `root`, sorted; what an interrupted session left half-written is not among them."""
    found = [path.parent for path in root.rglob(FILE)]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts))


def read(directory: Path) -> Record:
    """One record, an older schema's raised to this one's. Raises ArtifactError when it is missing, damaged or newer."""
    path = directory / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ArtifactError(f"{path} is missing or damaged. {_MEASURE_AGAIN}") from None
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} is missing or damaged. {_MEASURE_AGAIN}")
    schema = content.get("schema")
    if schema == SCHEMA:
        return Record(content, directory)
    if type(schema) is not int or schema not in migrations.STEPS:
        known = f"{min(migrations.STEPS)} to {SCHEMA}"
        raise ArtifactError(f"{path} has schema {schema}, this version reads {known}. {_UPDATE}")
    return Record(migrations.upgrade(content, SCHEMA), directory, schema)
