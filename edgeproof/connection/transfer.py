"""Files on their way to a device and back: known by their sha256 on both sides, and limited in number and size."""

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

SUMS = ".sums"
MAX_FILES = 1000
MAX_BYTES = 1 << 30
_LINE = re.compile(r"([0-9a-f]{64}) [ *]\./([^\\\n]+)")
_CHUNK_BYTES = 1 << 20


def compute_checksums(path: Path) -> dict[str, str]:
    """The sha256 of a file (under the name '') or of every file below a directory, by its relative path."""
    if not path.is_dir():
        return {"": hash_file(path)}
    return {file.relative_to(path).as_posix(): hash_file(file) for file in sorted(path.rglob("*")) if file.is_file()}


def format_checksums(found: Mapping[str, str], name: str) -> bytes:
    """Sums as `sha256sum -c` reads them, of a file or directory called `name`."""
    return "".join(f"{digest}  {PurePosixPath(name, path)}\n" for path, digest in found.items()).encode()


def pack(path: Path, found: Mapping[str, str], name: str, stream: IO[bytes]) -> None:
    """Write a file or directory as a tar archive under `name`, and beside it its sums."""
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT, dereference=True) as archive:
        archive.add(path, name, filter=_plain)
        content = format_checksums(found, name)
        about = tarfile.TarInfo(SUMS)
        about.size = len(content)
        archive.addfile(about, io.BytesIO(content))
    stream.seek(0)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nothing of this machine's users and rights goes along."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o700 if member.isdir() else 0o600
    return member


def parse_checksums(text: str) -> dict[str, str]:
    """Sums from what `find . -type f -exec sha256sum {} +` printed. Raises DeviceError for anything else."""
    found = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise DeviceError(f"the device lists a file as {line!r:.100}, which is no sha256 and name")
        found[_inside(match[2])] = match[1]
    if len(found) > MAX_FILES:
        raise DeviceError(f"the device lists {len(found)} files; at most {MAX_FILES} are taken")
    return found


def unpack(stream: IO[bytes], expected: Mapping[str, str], directory: Path) -> None:
    """Write the plain files of a tar archive below `directory`. Raises DeviceError unless they are those expected."""
    found = {}
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                name = _inside(member.name)
                if not member.isreg() or name not in expected or name in found:
                    raise DeviceError(f"the device sent {name!r:.100}, which it had not listed as a file")
                found[name] = _written(archive, member, directory / name)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DeviceError(f"what the device sent is no whole archive: {error}") from None
    for name, digest in expected.items():
        if found.get(name) != digest:
            raise DeviceError(f"{name} was damaged on its way from the device" if name in found else f"{name} is lost")


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise DeviceError(f"the device names a file {name!r:.100}, which lies outside")
    return path.as_posix()


def _written(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> str:
    if member.size > MAX_BYTES:
        raise DeviceError(f"the device sends {member.name!r:.100} with {member.size:,} bytes; {MAX_BYTES:,} are taken")
    source = archive.extractfile(member)
    assert source is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()
