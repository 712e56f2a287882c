"""Programs that build and run the board: installed on this machine, or unpacked into the tools' directory."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeproof.core.errors import EdgeproofError

TIMEOUT_S = 1800
# Directories that only root has on its PATH.
ROOT_PATHS = ("/usr/sbin", "/sbin")
SSH_PACKAGE = "openssh-client"
_SHOWN_LINES = 5


def find_program(program: str, tools: Path | None = None) -> str | None:
    """Return the path of a program on this machine or in `tools`, or None."""
    directories = [*os.environ.get("PATH", "").split(os.pathsep), *ROOT_PATHS]
    if tools is not None:
        directories += [str(tools / "usr/bin"), str(tools / "usr/sbin"), str(tools / "sbin")]
    return shutil.which(program, path=os.pathsep.join(directories))


def describe_install(program: str) -> str:
    """Return how to install a program that cannot be unpacked into the tools' directory."""
    if program in ("ssh", "ssh-keygen"):
        return f"Install it with 'apt-get install {SSH_PACKAGE}'."
    return "The board is built from Debian's packages by apt. Use a machine or a container with Debian 12."


def make_library_environment(program: str, tools: Path) -> dict[str, str] | None:
    """Return the environment in which a program from `tools` finds its libraries, or None for an installed program."""
    if tools not in Path(program).parents:
        return None
    directories = [tools / part / f"{platform.machine()}-linux-gnu" for part in ("usr/lib", "lib")]
    return {"LD_LIBRARY_PATH": ":".join(str(path.resolve()) for path in directories if path.is_dir())}


def run_program(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """Run a program and return its output.

    Raises EdgeproofError when the program is missing, exceeds the timeout, or fails. The message has its last lines.
    """
    words = [str(word) for word in argv]
    try:
        process = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise EdgeproofError(f"{words[0]} is not on this machine. {describe_install(Path(words[0]).name)}") from None
    except subprocess.TimeoutExpired:
        raise EdgeproofError(
            f"{words[0]} did not finish within {timeout_s:.0f} s. Run the same command again."
        ) from None
    if process.returncode != 0:
        last_lines = " | ".join(process.stdout.strip().splitlines()[-_SHOWN_LINES:]) or "it printed nothing"
        raise EdgeproofError(f"{Path(words[0]).name} failed: {last_lines}. Run the same command again.")
    return process.stdout
