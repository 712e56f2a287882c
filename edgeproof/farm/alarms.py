"""What a night's check has found, one directory each, beside the history; written once and never changed.

results/alarms/<run>/<name>/alarm.json    what was found, about which cell or device
results/alarms/<run>/<name>/records       the records of an A/B that was made to confirm it
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from edgeproof.core.directories import write_atomically, write_json

ALARMS = Path("results/alarms")
SCHEMA = 1
ALARM_FILE = "alarm.json"
RECORDS_DIRECTORY = "records"

AlarmKind = Literal["regression", "conditions", "unconfirmed", "not confirmed", "missing", "fingerprint"]
KINDS: tuple[AlarmKind, ...] = get_args(AlarmKind)


@dataclass(frozen=True)
class Alarm:
    """One thing found on a night.

    Attributes:
        kind: `regression` was confirmed by an A/B; `not confirmed` is a suspicion that an A/B did not bear out;
            `unconfirmed` one of which no A/B could be made; `conditions` a step of the same bytes; `missing` a cell
            without a valid record; `fingerprint` a device or its software that changed.
        subject: the cell or the device.
        told: one sentence.
        details: the figures behind it.
    """

    kind: AlarmKind
    run: str
    subject: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs_attention(self) -> bool:
        """Whether somebody has to look: a suspicion that an A/B did not bear out is settled."""
        return self.kind != "not confirmed"

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}: {self.message}"


def find_latest(run: str, subject: str) -> Alarm | None:
    """What was written last about a subject on a night; None where nothing was, or nothing that can be read."""
    found = [alarm for path in _find_versions(run, subject) if (alarm := _read(path)) is not None]
    return found[-1] if found else None


def read_by_run() -> dict[str, list[Alarm]]:
    """Every run's alarms, what was written last about each subject; what can't be read is left out."""
    found: dict[str, dict[str, Alarm]] = {}
    for path in sorted(ALARMS.glob("*/*"), key=_version_number):
        if (alarm := _read(path)) is not None:
            found.setdefault(alarm.run, {})[alarm.subject] = alarm
    return {
        run: sorted(of.values(), key=lambda alarm: (KINDS.index(alarm.kind), alarm.subject))
        for run, of in found.items()
    }


def write(alarm: Alarm, records: Path | None = None) -> Alarm:
    """Add an alarm, with the records of its A/B; returns it. Raises EdgeproofError when the disk can't take it."""
    place = _versionless_path(alarm.run, alarm.subject)
    tries = len(_find_versions(alarm.run, alarm.subject))
    with write_atomically(place.with_name(f"{place.name}.{tries}")) as out:
        write_json(out / ALARM_FILE, {"schema": SCHEMA, **asdict(alarm)})
        if records is not None:
            shutil.copytree(records, out / RECORDS_DIRECTORY)
    return alarm


def write_once(alarm: Alarm) -> Alarm:
    """The alarm as it was written before about this subject, else this one, written now."""
    found = find_latest(alarm.run, alarm.subject)
    return found if found is not None and found.kind == alarm.kind else write(alarm)


def _find_versions(run: str, subject: str) -> list[Path]:
    place = _versionless_path(run, subject)
    found = place.parent.glob(f"{place.name}.*") if place.parent.is_dir() else ()
    return sorted(found, key=_version_number)


def _version_number(path: Path) -> int:
    """Which try of its subject a directory is: later ones stand for it."""
    return int(path.suffix[1:]) if path.suffix[1:].isdigit() else -1


def _versionless_path(run: str, subject: str) -> Path:
    """Readable, safe and one for each, whatever the names are."""
    words = re.sub(r"[^a-z0-9_-]+", "-", subject.lower()).strip("-")[:80]
    digest = hashlib.sha256(subject.encode(errors="surrogatepass")).hexdigest()[:8]
    night = re.sub(r"[^A-Za-z0-9_-]+", "-", run)
    night = night if night == run and night else f"{night}-{hashlib.sha256(run.encode()).hexdigest()[:8]}"
    return ALARMS / night / f"{words}-{digest}"


def _read(path: Path) -> Alarm | None:
    try:
        content = json.loads((path / ALARM_FILE).read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA or content["kind"] not in KINDS:
            return None
        return Alarm(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
