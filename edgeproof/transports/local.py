"""This machine as a device: files are copied to a working directory, and commands run as child processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from edgeproof.connection import subprocesses, transfer
from edgeproof.core import partial_paths
from edgeproof.core.errors import DeviceError

HOST = None
# The environment variables that commands see.
ENVIRONMENT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH")


class Transport:
    """The transport to the machine on which edgeproof itself runs."""

    def __init__(self, root: Path, host: str | None = None) -> None:
        self._root = root.resolve()
        self._root.mkdir(parents=True, exist_ok=True)
        self._sent: set[str] = set()

    def push(self, path: Path, name: str) -> None:
        """Copy a file or directory to the device under a relative name, unless the same content is there already."""
        if name in self._sent:
            return
        target = self._root / name
        checksums = transfer.compute_checksums(path)
        if not target.exists() or transfer.compute_checksums(target) != checksums:
            partial = partial_paths.name_partial(target)
            self._copy(path, partial)
            try:
                if transfer.compute_checksums(partial) != checksums:
                    raise DeviceError(f"{name} was damaged on its way to the device")
                partial_paths.swap(partial, target)
            finally:
                _remove(partial)
        self._sent.add(name)

    def _copy(self, path: Path, partial: Path) -> None:
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            if path.is_dir():
                shutil.copytree(path, partial)
            else:
                shutil.copyfile(path, partial)
        except OSError as error:
            _remove(partial)
            raise DeviceError(f"{partial.name} could not be written: {error.strerror or error}") from None

    def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        """Run a command in the device's working directory; return its exit code and the end of its output.

        The command is a process group of its own, which is killed when it runs longer than `timeout_s`. Raises
        DeviceError then.
        """
        environment = {key: os.environ[key] for key in ENVIRONMENT if key in os.environ}
        tail = subprocesses.Tail()
        try:
            code = subprocesses.run(argv, tail.take, timeout_s=timeout_s, cwd=self._root, environment=environment)
        except subprocesses.CommandTimeout:
            raise DeviceError(f"the job was ended after {timeout_s:.0f} s; raise timeout_s in the card") from None
        except (OSError, ValueError) as error:
            raise DeviceError(f"{argv[0]} can't be run: {getattr(error, 'strerror', None) or error}") from None
        return code, tail.get_content().decode(errors="replace")

    def pull(self, name: str, path: Path) -> None:
        """Copy a directory from the device."""
        source = self._root / name
        if not source.is_dir():
            raise DeviceError(f"the device left no {name}")
        self._copy_back(source, path)
        if transfer.compute_checksums(source).items() - transfer.compute_checksums(path).items():
            raise DeviceError(f"{name} was damaged on its way from the device")

    def _copy_back(self, source: Path, path: Path) -> None:
        shutil.copytree(source, path, dirs_exist_ok=True)

    def remove(self, name: str) -> None:
        """Delete a directory on the device."""
        self._sent.discard(name)
        shutil.rmtree(self._root / name, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
