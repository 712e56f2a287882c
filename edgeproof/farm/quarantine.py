"""The quarantine of devices that kept failing. No job runs on them until a user releases them."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgeproof.config.file_names import check_file_name
from edgeproof.core.directories import write_json
from edgeproof.core.errors import ConfigError, EdgeproofError, UnknownNameError
from edgeproof.paths import WORK

QUARANTINE = WORK / "farm" / "quarantine"


@dataclass(frozen=True)
class QuarantineEntry:
    """A device in quarantine, with the reason and the time in ISO 8601."""

    device: str
    reason: str
    since: str

    def __str__(self) -> str:
        return (
            f"device '{self.device}' is in quarantine since {self.since}: {self.reason}. "
            f"Repair it, then run 'edgeproof farm release {self.device}'"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return asdict(self)


_ENTRY = TypeAdapter(QuarantineEntry)
MAX_BYTES = 1_000_000


def add(device: str, reason: str) -> QuarantineEntry:
    """Put a device into quarantine."""
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    entry = QuarantineEntry(device, reason, since)
    write_json(_path(device), entry.to_json())
    return entry


def find(device: str) -> QuarantineEntry | None:
    """Return a device's entry, or None if it is not in quarantine. Raises EdgeproofError for a damaged file."""
    path = _path(device)
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return _ENTRY.validate_json(file.read(MAX_BYTES), strict=True)
    except ValidationError:
        raise EdgeproofError(
            f"{path} is damaged. To release the device, run 'edgeproof farm release {device}'."
        ) from None


def describe(device: str) -> str:
    """Return one line about a device in quarantine, also if its entry is damaged."""
    try:
        return str(find(device))
    except EdgeproofError as error:
        return f"device '{device}' is in quarantine: {error}"


def list_devices() -> list[str]:
    """Return all devices in quarantine."""
    return sorted(path.stem for path in QUARANTINE.glob("*.json"))


def release(device: str) -> None:
    """Release a device. Raises ConfigError when no device is in quarantine, UnknownNameError when this one is not."""
    devices = list_devices()
    if not devices:
        raise ConfigError(
            f"no device is in quarantine here, so there is nothing to release (given: {device!a:.60}). "
            "To measure, run 'edgeproof farm run'."
        )
    if device not in devices:
        raise UnknownNameError("device in quarantine", device, devices, "'edgeproof farm status' lists them.")
    _path(device).unlink()


def _path(device: str) -> Path:
    return QUARANTINE / f"{check_file_name('device', device)}.json"
