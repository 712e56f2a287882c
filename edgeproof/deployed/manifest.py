"""Verify a bundle's manifest, which holds the sha256 of every file and is signed. Needs only the standard library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeproof.core import ed25519
from edgeproof.core.directories import hash_file
from edgeproof.core.regular_files import is_regular_file, list_content
from edgeproof.core.signatures import fingerprint

MANIFEST, SIGNATURE = "MANIFEST.json", "MANIFEST.sig"
SCHEMA = 1


def find_problems(root: Path, signer: str | None) -> list[str]:
    """List everything that is wrong with the bundle in `root`. An empty list means that it may run.

    `signer` is the fingerprint of the key that must have signed the bundle, as `ssh-keygen -l` prints it, or None for
    any key or no signature.
    """
    try:
        if not is_regular_file(root / MANIFEST):
            raise ValueError("not a regular file")
        raw = (root / MANIFEST).read_bytes()
        content = json.loads(raw)
        files = content["files"]
        if not isinstance(files, dict):
            raise TypeError("not an object")
        if content["schema"] != SCHEMA:
            return [f"{MANIFEST} has schema {content['schema']}, this program reads {SCHEMA}"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return [f"{MANIFEST} is missing or damaged"]
    problems = _find_signature_problems(root, raw, content, signer)
    try:
        return [*problems, *_find_file_problems(root, files)]
    except OSError as error:
        return [*problems, f"{error.filename or root} cannot be read: {error.strerror or error}"]


def _find_file_problems(root: Path, files: Mapping[str, Any]) -> list[str]:
    """Compare the files with the sha256 in the manifest. Raises OSError for a file that cannot be read."""
    listing = list_content(root)
    problems = [f"{name} is not a regular file: links, pipes and devices are refused" for name in listing.others]
    present = set(listing.files) - {MANIFEST, SIGNATURE}
    problems += [
        f"{name} is not in the manifest: keep other files outside the bundle" for name in sorted(present - set(files))
    ]
    problems += [f"{name} is missing" for name in sorted(set(files) - present)]
    for name in sorted(present & set(files)):
        if hash_file(root / name) != files[name]:
            problems.append(f"{name} is damaged: its sha256 differs from the manifest's")
    return problems


def _find_signature_problems(root: Path, raw: bytes, content: dict[str, Any], signer: str | None) -> list[str]:
    key = content.get("public_key")
    if key is None:
        return [] if signer is None else [f"the bundle is not signed; it must be signed by {signer}"]
    try:
        if not is_regular_file(root / SIGNATURE):
            raise ValueError("not a regular file")
        public_key = bytes.fromhex(key)
        signature = bytes.fromhex((root / SIGNATURE).read_text(encoding="ascii").strip())
    except (OSError, ValueError, TypeError):
        return [f"{SIGNATURE} is missing or damaged"]
    if not ed25519.verify(public_key, raw, signature):
        return [f"{MANIFEST} was changed after it was signed"]
    if signer is not None and fingerprint(public_key) != signer:
        return [f"the bundle is signed by {fingerprint(public_key)}; it must be signed by {signer}"]
    return []


def read_signer(root: Path) -> str | None:
    """Return the fingerprint of the key that signed a bundle without problems, or None for an unsigned one."""
    key = json.loads((root / MANIFEST).read_bytes()).get("public_key")
    return None if key is None else fingerprint(bytes.fromhex(key))
