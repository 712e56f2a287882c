"""The versions that should run on devices: results/deployments/<device>.json, written after each change.

The files are small and belong into git, so that every host knows what should run where. What does run there is known
to the device alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from edgeproof.config.file_names import check_file_name
from edgeproof.config.validation import Frozen
from edgeproof.core.directories import write_json
from edgeproof.core.errors import ArtifactError
from edgeproof.deployment.answers import Sha256, Words

DEPLOYMENTS = Path("results/deployments")
MAX_BYTES = 100_000


class ExpectedVersion(Frozen):
    """The version that a device should run."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    version: Words
    sha256: Sha256 = Field(description="sha256 of the bundle's MANIFEST.json")
    signer: Words
    since: Words = Field(description="time in ISO 8601")
    origin: Literal["deploy", "rollback"]


def list_devices() -> list[str]:
    """Return the names of the devices that something was deployed to."""
    return sorted(path.stem for path in DEPLOYMENTS.glob("*.json") if not path.name.startswith("."))


def read_expected(device: str) -> ExpectedVersion | None:
    """Return the version that should run on a device, or None if nothing was deployed there.

    Raises ArtifactError for a damaged file.
    """
    path = DEPLOYMENTS / f"{check_file_name('device', device)}.json"
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            return ExpectedVersion.model_validate_json(file.read(MAX_BYTES))
    except (OSError, ValidationError):
        raise ArtifactError(
            f"{path} is damaged. Restore it from git, or remove it and deploy to '{device}' again."
        ) from None


def write_expected(device: str, expected: ExpectedVersion) -> None:
    """Write the version that should run on a device. Raises EdgeproofError when the disk is full."""
    write_json(DEPLOYMENTS / f"{check_file_name('device', device)}.json", expected.model_dump(by_alias=True))
