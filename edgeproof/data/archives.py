"""Unpack .tar.gz and .zip archives into a folder, safely.

An archive comes from the network before its content is verified. Only its regular files are written, and none outside
of the folder: a member with an absolute name or with '..' is refused, and links and special files are left out.
"""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from edgeproof.core.errors import DataError

# A small archive of zeros could fill a disk.
MAX_UNPACKED_BYTES = 64 << 30
_CHUNK_BYTES = 1 << 20

# The name of a member, its unpacked size, and a function that opens it.
Member = tuple[str, int, Callable[[], IO[bytes]]]


def unpack(archive: Path, into: Path) -> None:
    """Write the files of a .zip or .tar archive with any compression. Raises DataError for a damaged or unsafe one."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                _write_members(_list_zip(content), into)
        else:
            with tarfile.open(archive) as content:
                _write_members(_list_tar(content), into)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise DataError(f"{archive.name} is a damaged .zip or .tar archive ({error})") from error


def _list_zip(content: zipfile.ZipFile) -> Iterator[Member]:
    for entry in content.infolist():
        if not entry.is_dir():
            yield entry.filename, entry.file_size, partial(content.open, entry)


def _list_tar(content: tarfile.TarFile) -> Iterator[Member]:
    for entry in content:
        if entry.isfile():
            yield entry.name, entry.size, partial(_open_entry, content, entry)


def _open_entry(content: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    file = content.extractfile(entry)
    assert file is not None
    return file


def _write_members(members: Iterator[Member], into: Path) -> None:
    total = 0
    for name, size, open_member in members:
        total += size
        if total > MAX_UNPACKED_BYTES:
            raise ValueError(f"more than {MAX_UNPACKED_BYTES >> 30} GiB")
        path = into / _check_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_member() as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK_BYTES)


def _check_name(name: str) -> PurePosixPath:
    """Return the path of a member. Raises ValueError for one that leads out of the folder, here or on Windows."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name or not path.parts:
        raise ValueError(f"the member '{name}' leads out of the folder")
    return path
