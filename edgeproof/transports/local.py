"""This machine as a device: files are copied below a working directory, commands run as child processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgeproof.core.errors import DeviceError


class Transport:
    """Reaches the machine that edgeproof itself runs on."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._root.mkdir(parents=True, exist_ok=True)

    def push(self, path: Path, name: str) -> None:
        """Bring a file or directory to the device under a relative name. What is there already is not sent again."""
        target = self._root / name
        if target.exists():
            return
        partial = target.with_name(f".{target.name}.part")
        partial.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(path, partial)
        else:
            shutil.copyfile(path, partial)
        partial.rename(target)

    def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        """Run a command in the device's working directory; returns its exit code and what it printed.

        The command is a process group of its own, ended whole when it outlives `timeout_s` (DeviceError).
        """
        try:
            return self._run(argv, timeout_s)
        except OSError as error:
            raise DeviceError(f"{argv[0]} can't be run: {error.strerror or error}") from None

    def _run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        environment = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if key in os.environ}
        with subprocess.Popen(
            list(argv),
            cwd=self._root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=timeout_s)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise DeviceError(
                        f"the job was ended after {timeout_s:.0f} s; raise timeout_s in the card"
                    ) from None
                raise
        return process.returncode, output.decode(errors="replace")

    def pull(self, name: str, path: Path) -> None:
        """Bring a directory back from the device."""
        source = self._root / name
        if not source.is_dir():
            raise DeviceError(f"the device left no {name}")
        shutil.copytree(source, path, dirs_exist_ok=True)

    def remove(self, name: str) -> None:
        """Delete a directory on the device."""
        shutil.rmtree(self._root / name, ignore_errors=True)
