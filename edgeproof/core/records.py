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

from .directories import sha256_of, write_json
from .errors import ArtifactError

SCHEMA = 1
FILE = "record.json"
ACCURACY = "accuracy"
_MEASURE_AGAIN = "Measure again: raise bench.session in the study, then 'make repro'."

Verdict = Literal["valid", "invalid", "unsupported", "error"]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Record:
    """A record read back: its content and where its arrays lie."""

    content: Mapping[str, Any]
    directory: Path

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
        if not path.is_file() or sha256_of(path) != self.content["files"].get(name):
            raise ArtifactError(f"{path} is missing or damaged. {_MEASURE_AGAIN}")
        return path


def write(directory: Path, content: Mapping[str, Any]) -> None:
    """Complete a record: name the sha256 of every file that lies beside it."""
    files = {path.name: sha256_of(path) for path in sorted(directory.iterdir()) if path.is_file() and path.name != FILE}
    write_json(directory / FILE, {"schema": SCHEMA, **content, "files": files})


def read_all(root: Path) -> Iterator[Record]:
    """Every record below `root`, in the order of their paths. Raises ArtifactError on one that cannot be read."""
    for path in sorted(root.rglob(FILE)):
        half_written = any(part.startswith(".") for part in path.relative_to(root).parts)
        if not half_written:
            yield read(path.parent)


def read(directory: Path) -> Record:
    """One record. Raises ArtifactError when it is missing, damaged or of another schema."""
    path = directory / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ArtifactError(f"{path} is missing or damaged. {_MEASURE_AGAIN}") from None
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} is missing or damaged. {_MEASURE_AGAIN}")
    if content.get("schema") != SCHEMA:
        raise ArtifactError(f"{path} has schema {content.get('schema')}, this version reads {SCHEMA}. {_MEASURE_AGAIN}")
    return Record(content, directory)
