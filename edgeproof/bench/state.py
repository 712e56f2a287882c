"""The state of a session on disk: its directory, its id, and the records that it has so far.

An interrupted session continues when it is started again within the hour with the same inputs.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgeproof.bench.schedule import Job
from edgeproof.core import directories
from edgeproof.core.directories import hash_file
from edgeproof.devices import runner_result
from edgeproof.paths import WORK
from edgeproof.records import kinds, record_files
from edgeproof.records.record import Record
from edgeproof.statistics import bootstrap

SESSION_ID = "session_id"
STALE_S = 3600
# The code that decides verdicts. A session that was begun under other code is not continued.
_RULES = (
    *sorted(Path(__file__).parent.glob("*.py")),
    *sorted(Path(bootstrap.__file__).parent.glob("*.py")),
    Path(runner_result.__file__),
)


class SessionState:
    """The directory of one session in progress.

    Attributes:
        session_id: the name of this session, unique among all sessions.
    """

    def __init__(self, digest: str) -> None:
        self._directory = WORK / "sessions" / digest
        if self._directory.exists() and time.time() - _get_last_change_s(self._directory) > STALE_S:
            shutil.rmtree(self._directory)
        self._directory.mkdir(parents=True, exist_ok=True)
        self.session_id = self._load_session_id()

    def get_directory(self, job: Job) -> Path:
        """Return the directory of a job's record, whether it exists or not."""
        return self._directory / job.directory

    def has_record(self, job: Job) -> bool:
        """Return True if the job has a record."""
        return (self.get_directory(job) / kinds.RECORD_FILE).is_file()

    def read_record(self, job: Job) -> Record:
        """Read a job's record."""
        return record_files.read(self.get_directory(job))

    def read_scenario(self, job: Job, scenario: str) -> list[Record]:
        """Read all records of a scenario for the artifact of a job."""
        place = Job(job.runtime, job.model, job.scheme, scenario, 0).directory.parent
        return [record_files.read(path) for path in sorted((self._directory / place).glob(f"{scenario}.*"))]

    def forget(self, jobs: Iterable[Job]) -> None:
        """Delete the records of jobs that never reached the device, so that they are measured when it is back."""
        for job in jobs:
            shutil.rmtree(self.get_directory(job), ignore_errors=True)

    def copy_to(self, directory: Path) -> None:
        """Copy the session's files into an existing directory."""
        shutil.copytree(self._directory, directory, dirs_exist_ok=True)

    def delete(self) -> None:
        """Delete the session's directory."""
        shutil.rmtree(self._directory)

    def _load_session_id(self) -> str:
        path = self._directory / SESSION_ID
        if not path.is_file():
            directories.write_text(path, secrets.token_hex(8))
        return path.read_text(encoding="ascii")


def compute_digest(inputs: Any, scorers: Iterable[Path]) -> str:
    """Return the digest of everything that decides a session's records.

    `inputs` is plain data that describes the session. The code that decides verdicts and the files `scorers`, which
    score outputs, are added to it.
    """
    content = [inputs, [hash_file(path) for path in (*_RULES, *scorers)]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _get_last_change_s(directory: Path) -> float:
    return max(path.stat().st_mtime for path in [directory, *directory.rglob(kinds.RECORD_FILE)])
