"""A file system in an image file that loses its power: what was not synced is not on the disk afterwards.

The ioctl FS_IOC_SHUTDOWN of Linux (include/uapi/linux/fs.h; tests of file systems call it 'godown') stops all writing
at once, as a loss of power does.
"""

from __future__ import annotations

import enum
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FS_IOC_SHUTDOWN = 0x8004587D
IMAGE_BYTES = 16 * 1024**2


class Loss(enum.IntEnum):
    """What is on the disk after the loss. The values are those of the ioctl.

    WITH_JOURNAL: all changes of names and sizes, but no content that was not synced: files of length 0, for example.
    WITHOUT_JOURNAL: only what was synced, or written by the kernel in the meantime.
    """

    WITH_JOURNAL = 1
    WITHOUT_JOURNAL = 2


@dataclass(frozen=True)
class Disk:
    """A disk: its image file, and the directory where it is mounted."""

    image: Path
    place: Path

    def lose_power(self, loss: Loss) -> None:
        """Stop all writing at once. Whatever is written later fails."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, struct.pack("I", loss))
        finally:
            os.close(descriptor)

    def mount(self) -> None:
        """Mount the image, which repairs it from its journal."""
        subprocess.run(["mount", "-o", "loop", self.image, self.place], check=True)

    def unmount(self) -> None:
        """Unmount the image. What was not lost is written to it."""
        subprocess.run(["umount", self.place], check=True)

    def save(self, copy: Path) -> None:
        """Copy the image to another file."""
        self.unmount()
        shutil.copyfile(self.image, copy)
        self.mount()

    def restore(self, copy: Path) -> None:
        """Replace the content by that of a copy."""
        self.unmount()
        shutil.copyfile(copy, self.image)
        self.mount()


@contextmanager
def mount_disk(directory: Path) -> Iterator[Disk]:
    """Yield a disk with an empty ext4, mounted below a directory."""
    disk = Disk(directory / "disk.img", directory / "disk")
    disk.place.mkdir()
    with disk.image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", disk.image], check=True)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()


def explain_missing_right(directory: Path) -> str | None:
    """Return why a disk cannot be mounted here, or None."""
    try:
        with mount_disk(directory):
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no file system can be mounted: {error}"
