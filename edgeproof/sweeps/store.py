"""The directory of a sweep, results/sweeps/<name>. All processes of the sweep share it.

sweep.json              the request: the points in order, the code that they run
asked/<digest>.yaml     a point's params.yaml
points/<digest>/        a finished point: params.yaml, dvc.lock, records, tables, plots, point.json
failed/<digest>.json    why a point failed or was stopped early; removed when it is tried again
built/<digest>          marks a point whose builds are all in the cache
trained/<digest>.json   the models of a point that was only trained, as a search's rungs are
journal.jsonl           every stage that a point reached, and whether it ran
logs/<digest>.log       what a point's stages printed
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from pydantic import TypeAdapter

from edgeproof.config.file_names import check_file_name
from edgeproof.config.params import Params
from edgeproof.config.params_file import read_params
from edgeproof.core.directories import write_json, write_text
from edgeproof.core.errors import EdgeproofError
from edgeproof.sweeps.outcomes import JournalEntry, ModelSummary, PointFailure, PointOutcome, PointStatus
from edgeproof.sweeps.points import VALIDATION_LIMIT, SweepRequest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SWEEPS = Path("results/sweeps")
SCHEMA = 1
POINT_FILE = "point.json"
JOURNAL_FILE = "journal.jsonl"
DAMAGED = object()
# Separates the attempts in a point's log.
ATTEMPT_MARK = "--- attempt ---"
T = TypeVar("T", bound="DataclassInstance")
_REQUEST, _OUTCOME = TypeAdapter(SweepRequest), TypeAdapter(PointOutcome)
_FAILURE, _ENTRY = TypeAdapter(PointFailure), TypeAdapter(JournalEntry)


class SweepStore:
    """One sweep's directory. Many processes may call its methods at once."""

    def __init__(self, name: str) -> None:
        self.name = check_file_name("sweep", name)
        self.directory = SWEEPS.resolve() / name

    def write_request(self, request: SweepRequest) -> None:
        """Store the sweep's request."""
        write_json(self.directory / "sweep.json", {"schema": SCHEMA, **request.to_json()})

    def read_request(self) -> SweepRequest:
        """Return the sweep's request. Raises EdgeproofError when there is none or its schema is another one."""
        path = self.directory / "sweep.json"
        content = _read_json(path)
        if content is None or (isinstance(content, dict) and content.get("schema") != SCHEMA):
            raise EdgeproofError(f"{path} is missing or has another schema than {SCHEMA}. Run the sweep again.")
        request = _parse(content, SweepRequest.from_json, _REQUEST)
        if request is None:
            raise EdgeproofError(f"{path} is damaged. Remove it with 'rm {path}', then run the sweep again.")
        return request

    def params_path(self, digest: str) -> Path:
        """Return the path of a point's params.yaml."""
        return self._locate("asked", digest, ".yaml")

    def load_params(self, digest: str) -> Params:
        """Return a point's parameters."""
        return read_params(self.params_path(digest))

    def point_directory(self, digest: str) -> Path:
        """Return the directory of a finished point."""
        return self._locate("points", digest)

    def write_outcome(self, directory: Path, outcome: PointOutcome) -> None:
        """Write a point's outcome into `directory`, which becomes the point's directory."""
        write_json(directory / POINT_FILE, outcome.to_json())

    def read_outcome(self, digest: str) -> PointOutcome | None:
        """Return a finished point's outcome, or None for any other point."""
        directory = self.point_directory(digest)
        content = _read_json(directory / POINT_FILE)
        outcome = None if content is None else _parse(content, PointOutcome.from_json, _OUTCOME)
        if content is not None and outcome is None:
            raise EdgeproofError(describe_damaged_point(directory / POINT_FILE, directory))
        return outcome

    def log_path(self, digest: str) -> Path:
        """Return the path of a point's log, which holds its attempts one after another."""
        return self._locate("logs", digest, ".log")

    def open_log(self, digest: str) -> BinaryIO:
        """Open a point's log for another attempt."""
        path = self.log_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
        stream.write(f"{ATTEMPT_MARK}\n".encode())
        stream.flush()
        return stream

    def read_last_attempt(self, digest: str) -> list[str]:
        """Return the lines that the last attempt at a point printed."""
        try:
            text = self.log_path(digest).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        return text.rpartition(ATTEMPT_MARK)[2].strip().splitlines()

    def read_status(self, digest: str) -> PointStatus:
        """Return a point's status."""
        if self.read_outcome(digest) is not None:
            return "finished"
        failure = self.read_failure(digest)
        if failure is None:
            return "waiting"
        return "failed" if failure.excess is None else "stopped"

    def is_settled(self, digest: str, limits: Mapping[str, float]) -> bool:
        """Return whether a point needs no run: it is finished, or was stopped by the limit that still applies."""
        status = self.read_status(digest)
        if status != "stopped":
            return status == "finished"
        failure = self.read_failure(digest)
        return (None if failure is None else failure.limit) == limits.get(VALIDATION_LIMIT)

    def write_failure(self, digest: str, failure: PointFailure) -> None:
        """Store why a point has no result."""
        write_json(self._failure_path(digest), failure.to_json())

    def read_failure(self, digest: str) -> PointFailure | None:
        """Return why a point has no result, or None. If the file is damaged, the reason says so."""
        path = self._failure_path(digest)
        content = _read_json(path)
        if content is None:
            return None
        return _parse(content, PointFailure.from_json, _FAILURE) or PointFailure(f"it failed, and {path} is damaged")

    def clear_failure(self, digest: str) -> None:
        """Remove an earlier failure."""
        self._failure_path(digest).unlink(missing_ok=True)

    def mark_built(self, digest: str) -> None:
        """Note that all builds of a point are in the cache."""
        write_text(self._locate("built", digest), "")

    def is_built(self, digest: str) -> bool:
        """Return whether all builds of a point were put into the cache."""
        return self._locate("built", digest).is_file()

    def write_trained(self, digest: str, models: Mapping[str, ModelSummary]) -> None:
        """Store the models of a point that was trained, and neither exported nor measured."""
        write_json(self._locate("trained", digest, ".json"), {name: item.to_json() for name, item in models.items()})

    def read_trained(self, digest: str) -> dict[str, ModelSummary] | None:
        """Return the models of a point that was trained, or None. A damaged file counts as none."""
        try:
            content = _read_json(self._locate("trained", digest, ".json"))
            return None if content is None else {name: ModelSummary.from_json(item) for name, item in content.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def append_journal(self, entry: JournalEntry) -> None:
        """Append a line to the journal in one write, so that processes never mix their lines."""
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.directory / JOURNAL_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, (json.dumps(entry.to_json(), sort_keys=True) + "\n").encode())
        finally:
            os.close(descriptor)

    def read_journal(self) -> list[JournalEntry]:
        """Return all entries of the journal. Damaged lines, such as one that a crash cut short, are skipped."""
        return [entry for entry in self._parse_journal() if entry is not None]

    def count_damaged_entries(self) -> int:
        """Return the number of damaged lines of the journal."""
        return sum(entry is None for entry in self._parse_journal())

    def _parse_journal(self) -> Iterator[JournalEntry | None]:
        """Yield the entry of each line of the journal, or None for a damaged line."""
        try:
            lines = (self.directory / JOURNAL_FILE).read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            yield _parse(_load_json(line), JournalEntry.from_json, _ENTRY)

    def _failure_path(self, digest: str) -> Path:
        return self._locate("failed", digest, ".json")

    def _locate(self, folder: str, digest: str, suffix: str = "") -> Path:
        """Return the path of a point's file. Raises ConfigError for a digest that is not a file name."""
        return self.directory / folder / f"{check_file_name('point', digest)}{suffix}"


def describe_damaged_point(path: Path, directory: Path) -> str:
    """Return the message about a damaged file of a finished point."""
    return f"{path} is damaged. Remove the point with 'rm -r {directory}', then run the sweep again."


def _read_json(path: Path) -> Any:
    """Return the content of a file of JSON, DAMAGED if it is not JSON, or None if there is no file."""
    try:
        return _load_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _load_json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return DAMAGED


def _parse(content: Any, from_json: Callable[[Any], T], adapter: TypeAdapter[T]) -> T | None:
    """Return what `from_json` makes of the content, or None if that fails or a value has a wrong type."""
    try:
        return adapter.validate_python(asdict(from_json(content)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
