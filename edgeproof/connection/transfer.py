"""Pack files for a device and unpack files from it, checked by sha256 and limited in number and size."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from edgeproof.core.directories import hash_file
from edgeproof.core.errors import DeviceError

CHECKSUMS_FILE = ".sums"
MAX_FILES = 1000
MAX_BYTES = 1 << 30
_LINE = re.compile(r"([0-9a-f]{64}) [ *]\./([^\\\n]+)")
_CHUNK_BYTES = 1 << 20


def compute_checksums(path: Path) -> dict[str, str]:
    """Return the sha256 of every file below a directory by its relative path, or of a file under the name ''."""
    if not path.is_dir():
        return {"": hash_file(path)}
    return {file.relative_to(path).as_posix(): hash_file(file) for file in sorted(path.rglob("*")) if file.is_file()}


def format_checksums(checksums: Mapping[str, str], name: str) -> bytes:
    """Return the checksums of a file or directory called `name`, as `sha256sum -c` reads them."""
    return "".join(f"{digest}  {PurePosixPath(name, path)}\n" for path, digest in checksums.items()).encode()


def parse_checksums(text: str) -> dict[str, str]:
    """Return the checksums in the output of `find . -type f -exec sha256sum {} +`. Raises DeviceError otherwise."""
    checksums = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise DeviceError(f"the device lists a file as {line!r:.100}; expected a sha256 and a name")
        checksums[_require_inside(match[2])] = match[1]
    if len(checksums) > MAX_FILES:
        raise DeviceError(f"the device lists {len(checksums)} files; at most {MAX_FILES} are taken")
    return checksums


def pack(path: Path, checksums: Mapping[str, str], name: str, stream: IO[bytes]) -> None:
    """Write a tar archive with a file or directory under `name` and a file of its checksums, and rewind the stream."""
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT, dereference=True) as archive:
        archive.add(path, name, filter=_remove_owner)
        content = format_checksums(checksums, name)
        member = tarfile.TarInfo(CHECKSUMS_FILE)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    stream.seek(0)


def unpack(stream: IO[bytes], expected: Mapping[str, str], directory: Path) -> None:
    """Write the files of a tar archive below `directory`.

    Raises DeviceError unless the archive holds exactly the plain files with the checksums in `expected`.
    """
    received = {}
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                name = _require_inside(member.name)
                if not member.isreg() or name not in expected or name in received:
                    raise DeviceError(f"the device sent {name!r:.100}, which it had not listed as a file")
                received[name] = _extract(archive, member, directory / name)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DeviceError(f"the device sent an archive that is damaged or cut short: {error}") from None
    for name, digest in expected.items():
        if name not in received:
            raise DeviceError(f"the device listed {name} but did not send it")
        if received[name] != digest:
            raise DeviceError(f"{name} was damaged on its way from the device")


def _remove_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Replace this machine's owner by root, and its permissions by those of private files."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o700 if member.isdir() else 0o600
    return member


def _require_inside(name: str) -> str:
    """Return a relative path without its './'. Raises DeviceError for a path that leads outside."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise DeviceError(f"the device names a file {name!r:.100}, which lies outside its directory")
    return path.as_posix()


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> str:
    """Write a file of the archive and return its sha256."""
    if member.size > MAX_BYTES:
        raise DeviceError(
            f"the device sends {member.name!r:.100} with {member.size:,} bytes; at most {MAX_BYTES:,} are taken"
        )
    source = archive.extractfile(member)
    assert source is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()
