"""Everything made is a directory with a meta.json that names its files by sha256, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeproof.core.errors import ArtifactError, EdgeproofError

SCHEMA = 1
META = "meta.json"
_CHUNK_BYTES = 1 << 20


@contextmanager
def write_atomically(directory: Path) -> Iterator[Path]:
    """Fill a temporary sibling, then rename it to `directory`: a reader sees all of it or nothing.

    Raises EdgeproofError when the disk cannot take it; what stood there before stays.
    """
    directory = directory.resolve()
    temporary = directory.with_name(f".{directory.name}.part")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir()
        yield temporary
        _swap(temporary, directory)
    except OSError as error:
        raise EdgeproofError(
            f"could not write {directory}: {error.strerror or error}. What was finished before is kept; "
            "free some space or fix the permissions, then run the same command again."
        ) from error
    finally:
        if temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, target: Path) -> None:
    """Put `new` in the target's place; the old one returns when that fails."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_meta(directory: Path, meta: dict[str, Any]) -> None:
    """Write meta.json canonically, naming the sha256 of every other file in the directory."""
    files = {name: hash_file(directory / name) for name in list_files(directory)}
    write_json(directory / META, {"schema": SCHEMA, **meta, "files": files})


def read_meta(directory: Path, *, verify: bool = True) -> dict[str, Any]:
    """Read a directory's meta.json and check every file it names.

    Raises ArtifactError when the directory is missing, half-written, damaged, or of another schema.
    """
    path = directory / META
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{directory} has no {META}: it was never built. Build it with 'dvc repro'.") from None
    except (ValueError, UnicodeDecodeError):
        raise ArtifactError(f"{path} is not JSON. {_rebuild(directory)}") from None
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA:
        raise ArtifactError(f"{path} has a schema other than {SCHEMA}. {_rebuild(directory)}")
    if not isinstance(meta.get("files"), dict):
        raise ArtifactError(f"{path} names no files. {_rebuild(directory)}")
    if verify:
        for name, expected in meta["files"].items():
            verify_file(directory / name, expected, cure=_rebuild(directory))
    return meta


def verify_file(path: Path, expected_sha256: str, *, cure: str) -> None:
    """Check a file against its sha256. Raises ArtifactError with `cure` as the next step."""
    if not path.is_file():
        raise ArtifactError(f"{path} is missing. {cure}")
    actual = hash_file(path)
    if actual != expected_sha256:
        raise ArtifactError(
            f"{path} is damaged: {path.stat().st_size} bytes with sha256 {actual[:12]}…, "
            f"expected {expected_sha256[:12]}…. {cure}"
        )


def content_sha256(meta: dict[str, Any]) -> str:
    """One sha256 for a directory's content, from the hashes in its meta: its name in records and lineage."""
    canonical = json.dumps(meta["files"], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def list_files(directory: Path) -> list[str]:
    """Relative paths of a directory's files except meta.json, sorted, with forward slashes."""
    found = [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]
    return sorted(name for name in found if name != META)


def hash_file(path: Path) -> str:
    """The sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON canonically (sorted keys, no NaN) and atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file by way of a temporary name, so that it is never seen half-written.

    Raises EdgeproofError when the disk cannot take it; what stood there before stays.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EdgeproofError(
            f"could not write {path}: {error.strerror or error}. The old file is untouched."
        ) from error


def _rebuild(directory: Path) -> str:
    return f"Remove it with 'rm -r {directory}', then build it again with 'dvc repro'."
