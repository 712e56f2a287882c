"""Open the store for reading, as it is at one moment, while other processes replace it."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgeproof.core import file_locks

# Linux's names of open directories. They stay valid when the directory is renamed.
_OPEN_DIRECTORIES = Path("/proc/self/fd")


@dataclass(frozen=True)
class StoreSnapshot:
    """The store at one moment. Its files exist until `close`, also when the store has been replaced.

    Attributes:
        directory: the directory of the files.
        descriptor: the open directory, which holds a shared lock.
    """

    directory: Path
    descriptor: int

    def copy_to(self, target: Path) -> None:
        """Link the Parquet files into another directory, or copy them to another file system."""
        for path in list_files(self.directory):
            copy = target / path.relative_to(self.directory)
            copy.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(path, copy)

    def close(self) -> None:
        """Release the files."""
        os.close(self.descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """Link a file, or copy it to another file system, and where there are no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def list_files(directory: Path) -> list[Path]:
    """Return the Parquet files of a store, sorted."""
    return sorted(directory.glob("device=*/*.parquet"))


def open_snapshot(place: Path) -> StoreSnapshot | None:
    """Open the store in `place`. Returns None if there is no store."""
    try:
        descriptor = file_locks.share_directory(place)
    except FileNotFoundError:
        if not locate_lock(place).is_file():
            return None
        # On a system that cannot exchange two names, the store is missing for a moment while it is replaced.
        with contextlib.suppress(OSError), file_locks.hold(locate_lock(place), shared=True):
            pass
        try:
            descriptor = file_locks.share_directory(place)
        except FileNotFoundError:
            return None
    directory = _OPEN_DIRECTORIES / str(descriptor)
    return StoreSnapshot(directory if directory.is_dir() else place.resolve(), descriptor)


def locate_lock(place: Path) -> Path:
    """Return the lock of the writers of the store in `place`."""
    return place.with_name(f".{place.name}.lock")
