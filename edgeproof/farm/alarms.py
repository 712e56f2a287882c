"""Alarms: the findings of the nights' checks. An alarm is written once and never changed.

results/alarms/<run>/<subject>.<version>/alarm.json    the alarm
results/alarms/<run>/<subject>.<version>/records       the records of its A/B test, if there was one

The latest version of a subject's alarm replaces the earlier ones.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import TypeAdapter

from edgeproof.core.directories import write_atomically, write_json
from edgeproof.farm.alarm_details import (
    AlarmDetails,
    DeploymentDetails,
    FingerprintDetails,
    MissingDetails,
    SlowdownDetails,
)

ALARMS = Path("results/alarms")
SCHEMA = 1
ALARM_FILE = "alarm.json"
RECORDS_DIRECTORY = "records"

AlarmKind = Literal["regression", "conditions", "unconfirmed", "not confirmed", "missing", "fingerprint", "deployment"]
KINDS: tuple[AlarmKind, ...] = get_args(AlarmKind)


@dataclass(frozen=True)
class Alarm:
    """A finding of a night's check.

    Attributes:
        kind: one of
            `regression`: a slowdown that an A/B test confirmed.
            `not confirmed`: a suspected slowdown that an A/B test did not show.
            `unconfirmed`: a suspected slowdown for which no A/B test could run.
            `conditions`: a slowdown with the same artifact.
            `missing`: a cell without a valid record.
            `fingerprint`: a device or software that changed.
            `deployment`: a deployed version that is damaged, replaced, unreachable or over its budget.
        subject: the cell or the device.
        message: one sentence.
        details: the figures behind the message.
    """

    kind: AlarmKind
    run: str
    subject: str
    message: str
    details: AlarmDetails | None = None

    @property
    def needs_attention(self) -> bool:
        """True if a person has to look at it. A suspicion that an A/B test did not confirm is settled."""
        return self.kind != "not confirmed"

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "run": self.run,
            "subject": self.subject,
            "told": self.message,
            "details": {} if self.details is None else self.details.to_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Alarm:
        """Read what `to_json` returned. Raises ValueError, KeyError or TypeError for anything else."""
        kind = content["kind"]
        if content["schema"] != SCHEMA or kind not in KINDS:
            raise ValueError(f"not an alarm of schema {SCHEMA}")
        details = content.get("details") or None
        return cls(kind, content["run"], content["subject"], content["told"], details and _read_details(kind, details))


_ALARM = TypeAdapter(Alarm)


def find_latest(run: str, subject: str) -> Alarm | None:
    """Return the latest readable alarm about a subject on a night, or None."""
    versions = [alarm for path in _list_versions(run, subject) if (alarm := _read(path)) is not None]
    return versions[-1] if versions else None


def read_by_run() -> dict[str, list[Alarm]]:
    """Return the latest alarms about each subject by run, sorted by kind and subject. Unreadable ones are skipped."""
    latest: dict[str, dict[str, Alarm]] = {}
    for path in sorted(ALARMS.glob("*/[!.]*"), key=_version_number):
        if (alarm := _read(path)) is not None:
            latest.setdefault(alarm.run, {})[alarm.subject] = alarm
    return {
        run: sorted(by_subject.values(), key=lambda alarm: (KINDS.index(alarm.kind), alarm.subject))
        for run, by_subject in latest.items()
    }


def list_damaged(run: str) -> list[str]:
    """Return a line for each alarm of a night that cannot be read."""
    paths = sorted(_night_directory(run).glob("[!.]*"))
    return [f"{path / ALARM_FILE} is damaged. Remove it: rm -r {path}" for path in paths if _read(path) is None]


def write(alarm: Alarm, records: Path | None = None) -> Alarm:
    """Add an alarm, with the records of its A/B test, and return it. Raises EdgeproofError when the disk is full."""
    base = _base_path(alarm.run, alarm.subject)
    version = len(_list_versions(alarm.run, alarm.subject))
    with write_atomically(base.with_name(f"{base.name}.{version}")) as out:
        write_json(out / ALARM_FILE, alarm.to_json())
        if records is not None:
            shutil.copytree(records, out / RECORDS_DIRECTORY)
    return alarm


def write_once(alarm: Alarm) -> Alarm:
    """Return the subject's latest alarm if it has the same kind. Otherwise write this one and return it."""
    latest = find_latest(alarm.run, alarm.subject)
    return latest if latest is not None and latest.kind == alarm.kind else write(alarm)


def _list_versions(run: str, subject: str) -> list[Path]:
    base = _base_path(run, subject)
    paths = base.parent.glob(f"{base.name}.*") if base.parent.is_dir() else ()
    return sorted(paths, key=_version_number)


def _version_number(path: Path) -> int:
    return int(path.suffix[1:]) if path.suffix[1:].isdigit() else -1


def _base_path(run: str, subject: str) -> Path:
    """Return a readable path that is safe and unique, whatever characters the names contain."""
    words = re.sub(r"[^a-z0-9_-]+", "-", subject.lower()).strip("-")[:80]
    digest = hashlib.sha256(subject.encode(errors="surrogatepass")).hexdigest()[:8]
    return _night_directory(run) / f"{words}-{digest}"


def _night_directory(run: str) -> Path:
    night = re.sub(r"[^A-Za-z0-9_-]+", "-", run)
    unique = hashlib.sha256(run.encode(errors="surrogatepass")).hexdigest()[:8]
    return ALARMS / (night if night == run and night else f"{night}-{unique}")


def _read(path: Path) -> Alarm | None:
    """Return the alarm in a directory, or None if it is damaged: no JSON, or values of wrong types."""
    try:
        alarm = Alarm.from_json(json.loads((path / ALARM_FILE).read_text(encoding="utf-8")))
        return _ALARM.validate_python(asdict(alarm))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _read_details(kind: AlarmKind, content: Mapping[str, Any]) -> AlarmDetails:
    if kind == "missing":
        return MissingDetails.from_json(content)
    if kind == "fingerprint":
        return FingerprintDetails.from_json(content)
    if kind == "deployment":
        return DeploymentDetails.from_json(content)
    return SlowdownDetails.from_json(content)
