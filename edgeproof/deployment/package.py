"""The package of a version: its signed bundle on this host, checked before anything is sent."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from edgeproof.config.validation import Id
from edgeproof.core import signatures
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ArtifactError, ConfigError
from edgeproof.deployed import manifest
from edgeproof.paths import WORK
from edgeproof.provenance import bundle, cells, releases
from edgeproof.provenance.releases import Release
from edgeproof.records import allowed_signers, signing

BUNDLES = WORK / "bundles"
SIGN_HINT = f"Name the key in {signing.KEY_VARIABLE}, or pass the directory of a signed bundle with --bundle."


class _Content(BaseModel):
    """The part of bundle.json that a deployment needs."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    runtime: Id
    artifact_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Package:
    """A version that can be sent.

    Attributes:
        label: the version's name.
        directory: the bundle.
        sha256: the sha256 of the bundle's manifest.
        signer: fingerprint of the key that signed it.
        runtime: the runtime that it needs.
        artifact_bytes: size of the artifact, as in the table.
        total_bytes: size of all files.
    """

    label: str
    directory: Path
    sha256: str
    signer: str
    runtime: str
    artifact_bytes: int
    total_bytes: int


def prepare_package(version: str, *, directory: Path | None, signer: str | None, records: Path) -> Package:
    """Return the package of a registered version.

    Args:
        version: the version's name, such as student-onnx-fp32@v1.0.0.
        directory: its bundle. None for the one below .edgeproof/bundles, which is written and signed if it is missing.
        signer: fingerprint of the only key that is trusted; None for the project's allowed signers, or else its key.
        records: directory of the records.

    Raises EdgeproofError if there is no such version, and if the bundle is of another artifact, unsigned, damaged, or
    signed by a key that is not trusted.
    """
    release = releases.find_release(version)
    key = signing.load_configured_key()
    trusted = _list_trusted(signer, key)
    place = directory or BUNDLES / version
    if directory is None and not place.is_dir():
        _write_bundle(release, place, records)
    return check_package(release, place, trusted)


def check_package(release: Release, place: Path, trusted: Collection[str]) -> Package:
    """Verify the bundle of a version and return it as a package. Raises ArtifactError or ConfigError."""
    if not (place / manifest.MANIFEST).is_file():
        raise ConfigError(f"{place} is not a bundle. Write one: {_format_bundle_command(release)}")
    if problems := manifest.find_problems(place, None):
        raise ArtifactError(f"{place} is refused: {'; '.join(problems)}. Write it again. {SIGN_HINT}")
    actual = manifest.read_signer(place)
    if actual is None:
        raise ArtifactError(f"{place} is not signed. Sign it: {_format_bundle_command(release)}")
    if actual not in trusted:
        raise ArtifactError(
            f"{place} is signed by {actual}, and only these keys are trusted: {', '.join(sorted(trusted))}. "
            f"Add the key to {allowed_signers.ALLOWED_SIGNERS}, or pass --signer."
        )
    content = _read_content(place)
    if content.artifact_sha256 != release.artifact_sha256:
        raise ArtifactError(
            f"{place} holds the artifact {content.artifact_sha256[:12]}, and {release.name} is "
            f"{release.artifact_sha256[:12]}. Write its bundle: {_format_bundle_command(release)}"
        )
    files = [path for path in place.rglob("*") if path.is_file()]
    return Package(
        label=release.name,
        directory=place,
        sha256=hash_file(place / manifest.MANIFEST),
        signer=actual,
        runtime=content.runtime,
        artifact_bytes=_read_artifact_size(place),
        total_bytes=sum(path.stat().st_size for path in files),
    )


def _list_trusted(signer: str | None, key: Ed25519PrivateKey | None) -> set[str]:
    """Return the fingerprints of trusted keys."""
    if signer is not None:
        return {signer}
    if (project := allowed_signers.read_project_signers()) is not None:
        return {signatures.fingerprint(public_key) for public_key in project}
    if key is not None:
        return {signatures.fingerprint(signing.get_public_key(key))}
    raise ConfigError(
        f"no key is trusted to sign bundles. List the keys in {allowed_signers.ALLOWED_SIGNERS}, pass --signer "
        f"SHA256:…, or name your own key in {signing.KEY_VARIABLE}."
    )


def _write_bundle(release: Release, place: Path, records: Path) -> None:
    """Write the bundle of a version and sign it with the user's key."""
    path = signing.find_configured_key()
    if path is None:
        raise ConfigError(f"{release.name} has no bundle in {place}, and there is no key to sign one. {SIGN_HINT}")
    cell = cells.find_cell(release.cell, records)
    sha256 = cell.first_record.artifact.sha256
    if sha256 != release.artifact_sha256:
        raise ConfigError(
            f"the last records of {release.cell} are of another artifact ({sha256[:12]}) than {release.name} "
            f"({release.artifact_sha256[:12]}). Check out its commit ('git checkout {release.name}'), write the bundle "
            "there with 'edgeproof bundle', and pass it with --bundle."
        )
    bundle.write_bundle(cell, records, place, key=path)


def _read_content(place: Path) -> _Content:
    try:
        return _Content.model_validate_json((place / "bundle.json").read_bytes())
    except (OSError, ValidationError):
        raise ArtifactError(f"{place / 'bundle.json'} does not describe a bundle. Write the bundle again.") from None


def _read_artifact_size(place: Path) -> int:
    """Return the artifact's size as its export stated it, or that of its files."""
    try:
        size_bytes = json.loads((place / "artifact/meta.json").read_bytes())["size_bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        size_bytes = None
    if isinstance(size_bytes, int) and size_bytes > 0:
        return size_bytes
    return sum(path.stat().st_size for path in (place / "artifact").rglob("*") if path.is_file())


def _format_bundle_command(release: Release) -> str:
    return f"edgeproof bundle {shlex.quote(release.cell)} --out DIRECTORY --key KEY"
