"""Devices that kept failing: left alone, with the reason, until somebody releases them."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeproof.core.directories import write_json
from edgeproof.core.errors import EdgeproofError, UnknownNameError
from edgeproof.paths import WORK

QUARANTINE = WORK / "farm" / "quarantine"


@dataclass(frozen=True)
class QuarantineEntry:
    """Why and since when a device is left alone."""

    device: str
    reason: str
    since: str

    def __str__(self) -> str:
        return (
            f"device '{self.device}' is in quarantine since {self.since}: {self.reason}. "
            f"Mend it, then 'edgeproof farm release {self.device}'"
        )


def add(device: str, reason: str) -> QuarantineEntry:
    """Leave a device alone from now on."""
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    sentence = QuarantineEntry(device, reason, since)
    write_json(QUARANTINE / f"{device}.json", asdict(sentence))
    return sentence


def find(device: str) -> QuarantineEntry | None:
    """A device's sentence, or None where it is free. Raises EdgeproofError for a damaged file."""
    path = QUARANTINE / f"{device}.json"
    if not path.is_file():
        return None
    try:
        return QuarantineEntry(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise EdgeproofError(f"{path} is damaged. Remove it to release the device.") from None


def list_devices() -> list[str]:
    """All devices in quarantine."""
    return sorted(path.stem for path in Path(QUARANTINE).glob("*.json"))


def release(device: str) -> None:
    """Let a device take part again. Raises UnknownNameError where it is not in quarantine."""
    if device not in list_devices():
        raise UnknownNameError("device in quarantine", device, list_devices(), "'edgeproof farm status' lists them.")
    (QUARANTINE / f"{device}.json").unlink()
