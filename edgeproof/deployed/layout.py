"""The directory of a board's deployments. One rename of a link switches from one version to another.

deployment/lock                           the lock of every change, which the kernel releases when its holder ends
deployment/incoming/<sha256>/             a bundle as it arrived, before it is verified
deployment/versions/<sha256>.<number>/    a version: its bundle in bundle/, and version.json about it
deployment/current                        a link to the version that runs

<sha256> is that of the bundle's MANIFEST.json, which holds the sha256 of every other file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeproof.core.directories import hash_file
from edgeproof.core.regular_files import is_regular_file
from edgeproof.deployed import manifest

ROOT = Path("deployment")
BUNDLE, ABOUT = "bundle", "version.json"
CURRENT, INCOMING, VERSIONS, LOCK = "current", "incoming", "versions", "lock"
SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[0-9a-f]{64}\.[0-9]{1,9}")
LOCK_RETRY_S = 0.1
MAX_HOLDER_BYTES = 500


class LockBusyError(Exception):
    """Another process changes the deployments of this board."""


@dataclass(frozen=True)
class Version:
    """A version on this board.

    Attributes:
        name: its directory below versions/.
        label: the version's name in the registry.
        signer: fingerprint of the key that signed its bundle.
        since: time at which it began to run, in ISO 8601, by the clock of the host that deployed it.
        origin: 'deploy' or 'rollback', the command that made it current.
        previous: directory of the version that ran before, or None.
    """

    name: str
    label: str = "unknown"
    signer: str | None = None
    since: str = "unknown"
    origin: str = "unknown"
    previous: str | None = None

    @property
    def sha256(self) -> str:
        """The sha256 that the bundle's manifest must have."""
        return self.name.partition(".")[0]


def locate_bundle(version: Version) -> Path:
    """Return the directory of a version's bundle."""
    return ROOT / VERSIONS / version.name / BUNDLE


def read_version(name: str) -> Version | None:
    """Return a version by the name of its directory, or None if there is no such version.

    Whatever version.json lacks is unknown.
    """
    if not NAME.fullmatch(name) or not (ROOT / VERSIONS / name).is_dir():
        return None
    try:
        content = json.loads((ROOT / VERSIONS / name / ABOUT).read_text(encoding="utf-8"))
        texts = {key: str(content[key]) for key in ("label", "since", "origin")}
        signer, previous = content["signer"], content["previous"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Version(name)
    return Version(
        name,
        **texts,
        signer=None if signer is None else str(signer),
        previous=None if previous is None else str(previous),
    )


def read_current() -> Version | None:
    """Return the version that runs, or None if there is none."""
    try:
        target = str((ROOT / CURRENT).readlink())
    except OSError:
        return None
    directory, _, name = target.rpartition("/")
    return read_version(name) if directory == VERSIONS else None


def read_previous(version: Version | None) -> Version | None:
    """Return the version that ran before another one, or None if it is not on the board."""
    return None if version is None or version.previous is None else read_version(version.previous)


def list_versions() -> list[Version]:
    """Return all versions on this board, sorted by name."""
    directory = ROOT / VERSIONS
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    return [version for name in names if (version := read_version(name)) is not None]


def find_problems(version: Version, signer: str | None) -> list[str]:
    """List everything that is wrong with the files of a version. `signer` must have signed it, if it is not None."""
    path = locate_bundle(version) / manifest.MANIFEST
    try:
        if path.is_file() and hash_file(path) != version.sha256:
            return [f"{manifest.MANIFEST} was changed: it is not the one that was deployed"]
        return manifest.find_problems(path.parent, signer)
    except OSError as error:
        return [f"its files cannot be read: {error.strerror or error}"]


def adopt_incoming(sha256: str) -> Version | None:
    """Move a bundle that has arrived to the versions. Return None if none has arrived."""
    source = ROOT / INCOMING / sha256
    if not source.is_dir() or source.is_symlink():
        return None
    numbers = (number for number in range(1, 10**9) if not (ROOT / VERSIONS / f"{sha256}.{number}").exists())
    version = Version(f"{sha256}.{next(numbers)}")
    directory = ROOT / VERSIONS / version.name
    directory.mkdir(parents=True)
    source.rename(directory / BUNDLE)
    return version


def switch_to(version: Version) -> None:
    """Write version.json and make the version current by one rename.

    All files of the version are on the disk before the rename, and the rename is when this returns.
    """
    directory = ROOT / VERSIONS / version.name
    content = {key: value for key, value in asdict(version).items() if key != "name"}
    partial = directory / f"{ABOUT}.part"
    partial.write_text(json.dumps(content, sort_keys=True) + "\n", encoding="utf-8")
    sync(partial)
    partial.replace(directory / ABOUT)
    sync_tree(directory)
    for parent in (ROOT / VERSIONS, ROOT, ROOT.parent):
        sync(parent)
    link = ROOT / f"{CURRENT}.part"
    link.unlink(missing_ok=True)
    link.symlink_to(f"{VERSIONS}/{version.name}")
    link.replace(ROOT / CURRENT)
    sync(ROOT)


def remove(version: Version) -> None:
    """Remove a version that does not run and is not the one before."""
    shutil.rmtree(ROOT / VERSIONS / version.name, ignore_errors=True)


def prune() -> None:
    """Remove everything but the version that runs and the one before."""
    current = read_current()
    if current is None:
        return
    kept = {current.name, current.previous}
    for directory in (ROOT / VERSIONS, ROOT / INCOMING):
        for path in directory.iterdir() if directory.is_dir() else ():
            # A transport that is still writing uses hidden names, and removes what a crash left there after a day.
            if path.name not in kept and not path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def hold_lock(holder: str, wait_s: float) -> Iterator[None]:
    """Hold the lock of this board's deployments while the block runs. `holder` tells others who has it.

    Raises LockBusyError with the holder if it is not free within `wait_s`.
    """
    ROOT.mkdir(parents=True, exist_ok=True)
    # Programs that this process starts do not inherit the descriptor, so the lock ends with this process.
    descriptor = os.open(ROOT / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline_s = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline_s:
                    name = os.pread(descriptor, MAX_HOLDER_BYTES, 0).decode(errors="replace")
                    raise LockBusyError(name or "another process") from None
                time.sleep(LOCK_RETRY_S)
        with contextlib.suppress(OSError):  # the name only explains a wait, and the disk may be full
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder.encode(errors="replace")[:MAX_HOLDER_BYTES], 0)
        yield
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Write a directory and everything below it to the disk. Links are not followed."""
    for parent, _, files in os.walk(directory):
        for name in files:
            if is_regular_file(path := Path(parent, name)):
                sync(path)
        sync(Path(parent))


def sync(path: Path) -> None:
    """Write a file or directory to the disk. A file system that cannot do this for directories is accepted."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
