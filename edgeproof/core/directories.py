"""Directories with a meta.json that holds the sha256 of every file, and atomic writes.

Models, artifacts and prepared data are such directories. A reader sees a whole directory or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeproof.core import partial_paths
from edgeproof.core.errors import ArtifactError, EdgeproofError

SCHEMA = 1
META = "meta.json"
_CHUNK_BYTES = 1 << 20


@contextmanager
def write_atomically(directory: Path) -> Iterator[Path]:
    """Yield a temporary directory to fill, and rename it to `directory` at the end. The last of several writers wins.

    Raises EdgeproofError when writing fails. On any exception an older `directory` stays as it was.
    """
    directory = directory.resolve()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with partial_paths.hold_partial_directory(directory) as partial:
            yield partial
            partial_paths.swap(partial, directory)
    except OSError as error:
        raise EdgeproofError(
            f"could not write {directory}: {error.strerror or error}. Results that were finished before are kept. "
            "Free some space or fix the permissions, then run the same command again."
        ) from error


def write_meta(directory: Path, meta: dict[str, Any]) -> None:
    """Write meta.json as canonical JSON, and add the sha256 of every other file in the directory."""
    files = {name: hash_file(directory / name) for name in list_files(directory)}
    write_json(directory / META, {"schema": SCHEMA, **meta, "files": files})


def read_meta(directory: Path, *, verify: bool = True) -> dict[str, Any]:
    """Read a directory's meta.json and, with `verify`, check the sha256 of every file that it names.

    Raises ArtifactError when the directory or a file is missing or damaged, or has another schema.
    """
    path = directory / META
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{directory} has no {META}: it was never built. Build it with 'dvc repro'.") from None
    except (ValueError, RecursionError):
        raise ArtifactError(f"{path} is not JSON. {_suggest_rebuild(directory)}") from None
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA:
        raise ArtifactError(f"{path} has a schema other than {SCHEMA}. {_suggest_rebuild(directory)}")
    files = meta.get("files")
    if not isinstance(files, dict) or not all(isinstance(sha256, str) for sha256 in files.values()):
        raise ArtifactError(f"{path} names no files with their sha256. {_suggest_rebuild(directory)}")
    if verify:
        for name, expected in files.items():
            verify_file(directory / name, expected, cure=_suggest_rebuild(directory))
    return meta


def verify_file(path: Path, expected_sha256: str, *, cure: str) -> None:
    """Compare a file with its sha256. Raises ArtifactError, with `cure` as the next step, when they differ."""
    if not path.is_file():
        raise ArtifactError(f"{path} is missing. {cure}")
    actual = hash_file(path)
    if actual != expected_sha256:
        raise ArtifactError(
            f"{path} is damaged: {path.stat().st_size} bytes with sha256 {actual[:12]}…, "
            f"expected {expected_sha256[:12]}…. {cure}"
        )


def content_sha256(meta: dict[str, Any]) -> str:
    """Return one sha256 for the content of a directory, computed from the hashes in its meta.

    Records and lineage identify a model or an artifact by it.
    """
    canonical = json.dumps(meta["files"], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def list_files(directory: Path) -> list[str]:
    """List the relative paths of a directory's files except meta.json, sorted, with forward slashes."""
    names = [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]
    return sorted(name for name in names if name != META)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, which is read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON canonically (sorted keys, no NaN) and atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, atomically: see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it, so that no reader sees half of it.

    Raises EdgeproofError when writing fails; an older file stays as it was.
    """
    partial = partial_paths.name_partial(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise EdgeproofError(
            f"could not write {path}: {error.strerror or error}. The old file is untouched."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _suggest_rebuild(directory: Path) -> str:
    return f"Remove it with 'rm -r {directory}', then build it again with 'dvc repro'."
