"""Where a sweep keeps what was asked and what became of it: results/sweeps/<name>, which all its processes share.

sweep.json              what was asked: the points in order, the code they run
asked/<digest>.yaml     a point's params.yaml
points/<digest>/        a finished point: params.yaml, dvc.lock, records, tables, plots, point.json
failed/<digest>.json    why a point failed or was stopped early; gone when it is tried again
built/<digest>          a point of which all that is built lies in the cache
journal.jsonl           every stage that a point came to, and whether it ran
logs/<digest>.log       what a point's stages printed
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from edgeproof.config.params import Params, load
from edgeproof.core.directories import write_json, write_text
from edgeproof.core.errors import EdgeproofError

ROOT = Path("results/sweeps")
SCHEMA = 1
DIGITS = 16

ATTEMPT = "--- attempt ---"
# What a sweep looks at where nothing else is asked.
OBJECTIVES = ("accuracy", "p50_us", "size_bytes")
# The limit that is known before anything is exported or measured.
VALIDATION = "validation_accuracy"

Status = Literal["finished", "failed", "stopped", "waiting"]


@dataclass(frozen=True)
class Code:
    """What a sweep's points run: the hash of all that decides their outcome, its commit, and what differs from that."""

    sha256: str
    head: str
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """One point as it was asked for: Hydra's overrides, and the digest of its params and the code."""

    overrides: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Asked:
    """A sweep as it was asked for: its points, what is wanted of them, and what they must keep to.

    `objectives` are figures, `limits` the worst values of figures that are still of use.
    """

    points: tuple[Point, ...]
    code: Code
    objectives: tuple[str, ...] = OBJECTIVES
    limits: Mapping[str, float] = field(default_factory=dict)


def digest_of(body: str, code: Code) -> str:
    """The name of a point: equal for equal params and equal code, whatever asked for it."""
    return hashlib.sha256(f"{code.sha256}\n{body}".encode()).hexdigest()[:DIGITS]


class Store:
    """One sweep's directory. Its methods may be called by many processes at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = ROOT.resolve() / name

    def ask(self, asked: Asked) -> None:
        """Write down what is to be done."""
        write_json(self.directory / "sweep.json", {"schema": SCHEMA, **asdict(asked)})

    def asked(self) -> Asked:
        """What is to be done. Raises EdgeproofError where no sweep of this name was begun."""
        path = self.directory / "sweep.json"
        content = _json(path)
        if content is None or content.get("schema") != SCHEMA:
            raise EdgeproofError(f"{path} is missing or of another schema. Begin the sweep again.")
        points = tuple(Point(tuple(point["overrides"]), point["digest"]) for point in content["points"])
        code = content["code"]
        made_by = Code(code["sha256"], code["head"], tuple(code["changed"]))
        return Asked(points, made_by, tuple(content["objectives"]), content["limits"])

    def params_file(self, digest: str) -> Path:
        """The params.yaml that a point asks for."""
        return self.directory / "asked" / f"{digest}.yaml"

    def params(self, digest: str) -> Params:
        """A point's params."""
        return load(self.params_file(digest))

    def point(self, digest: str) -> Path:
        """Where a finished point lies."""
        return self.directory / "points" / digest

    def outcome(self, digest: str) -> dict[str, Any] | None:
        """A finished point's point.json."""
        return _json(self.point(digest) / "point.json")

    def log(self, digest: str) -> Path:
        """What a point's stages print, each attempt after the other."""
        return self.directory / "logs" / f"{digest}.log"

    def begin_log(self, digest: str) -> BinaryIO:
        """The log, open for another attempt."""
        path = self.log(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
        stream.write(f"{ATTEMPT}\n".encode())
        stream.flush()
        return stream

    def last_attempt(self, digest: str) -> list[str]:
        """The lines that the last attempt at a point printed."""
        try:
            text = self.log(digest).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        return text.rpartition(ATTEMPT)[2].strip().splitlines()

    def status(self, digest: str) -> Status:
        """What became of a point."""
        if self.outcome(digest) is not None:
            return "finished"
        failure = self.failure(digest)
        if failure is None:
            return "waiting"
        return "failed" if failure["excess"] is None else "stopped"

    def is_settled(self, digest: str, limits: Mapping[str, float]) -> bool:
        """Whether a point has its result, or was stopped under the limit that still holds."""
        status = self.status(digest)
        return status == "finished" or (
            status == "stopped" and (self.failure(digest) or {}).get("limit") == limits.get(VALIDATION)
        )

    def fail(self, digest: str, reason: str) -> None:
        """Say why a point has no result."""
        write_json(self._failed(digest), {"reason": reason, "excess": None})

    def stop(self, digest: str, reason: str, excess: float, limit: float) -> None:
        """Say why it was not worth going on with a point, which missed `limit` by the share `excess` of it."""
        write_json(self._failed(digest), {"reason": reason, "excess": excess, "limit": limit})

    def failure(self, digest: str) -> dict[str, Any] | None:
        """Why a point has no result."""
        return _json(self._failed(digest))

    def begin(self, digest: str) -> None:
        """Forget an earlier failure."""
        self._failed(digest).unlink(missing_ok=True)

    def mark_built(self, digest: str) -> None:
        """Say that all that a point builds lies in the cache."""
        write_text(self.directory / "built" / digest, "")

    def is_built(self, digest: str) -> bool:
        """Whether all that a point builds lies in the cache, or did when it was built."""
        return (self.directory / "built" / digest).is_file()

    def note(self, entry: dict[str, Any]) -> None:
        """Add a line to the journal, whole or not at all."""
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.directory / "journal.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, (json.dumps(entry, sort_keys=True) + "\n").encode())
        finally:
            os.close(descriptor)

    def journal(self) -> list[dict[str, Any]]:
        """Every line of the journal but one that a crash of the machine cut short."""
        try:
            lines = (self.directory / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        entries = []
        for line in lines:
            with suppress(ValueError):
                entries.append(json.loads(line))
        return entries

    def _failed(self, digest: str) -> Path:
        return self.directory / "failed" / f"{digest}.json"


def values(point: Point) -> dict[str, str]:
    """A point's overrides as key and value, without Hydra's signs before the key."""
    return {key.lstrip("+~"): value for key, _, value in (override.partition("=") for override in point.overrides)}


def axes(points: Sequence[Point]) -> list[str]:
    """The keys in which points differ, in the order in which they were given."""
    all_values = [values(point) for point in points]
    keys = dict.fromkeys(key for given in all_values for key in given)
    return [key for key in keys if len({given.get(key) for given in all_values}) > 1]


def label(point: Point, keys: Sequence[str]) -> str:
    """A point's short name: its values on the axes, without the groups of the keys."""
    given = values(point)
    return " ".join(f"{key.rpartition('.')[2]}={given.get(key)}" for key in keys) or "the only point"


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise EdgeproofError(f"{path} is not JSON. Remove it; the same command makes it again.") from None
    return content
