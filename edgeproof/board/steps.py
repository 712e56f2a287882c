"""What every step of the build has in common: a directory written whole, and made again only when its key changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeproof.core.directories import hash_file, write_atomically, write_json
from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import WORK

BOARD = WORK / "board"
STEP_FILE = ".made.json"
TIMEOUT_S = 1800
# Programs that only root has on its PATH.
ROOT_PATHS = ("/usr/sbin", "/sbin")
_LAST_LINES = 5


def build_step(name: str, key: Mapping[str, Any], fill: Callable[[Path], None], title: str) -> Path:
    """The directory `name` of the board, filled now unless it was with this key by the file that `fill` is in."""
    place = BOARD / name
    told = {"key": dict(key), "code": hash_file(Path(fill.__code__.co_filename))}
    if _read_step_file(place) != told:
        print(f"  {title}", file=sys.stderr, flush=True)
        with write_atomically(place) as out:
            fill(out)
            write_json(out / STEP_FILE, told)
    return place


def hash_step(place: Path) -> str:
    """What a finished step is known by in the keys of those that follow."""
    return hash_file(place / STEP_FILE)


def _read_step_file(place: Path) -> Any:
    try:
        return json.loads((place / STEP_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def run_program(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """Run a program and return what it printed. Raises EdgeproofError with its last words where it fails."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise EdgeproofError(f"{words[0]} is not on this machine. {describe_install(Path(words[0]).name)}") from None
    except subprocess.TimeoutExpired:
        raise EdgeproofError(f"{words[0]} did not finish in {timeout_s:.0f} s; the same command continues.") from None
    if done.returncode != 0:
        last = " | ".join(done.stdout.strip().splitlines()[-_LAST_LINES:]) or "it said nothing"
        raise EdgeproofError(f"{Path(words[0]).name} failed: {last}. The same command continues.")
    return done.stdout


def describe_install(program: str) -> str:
    """What to do where a program is missing that can't be unpacked beside us."""
    package = {"apt-get": "", "dpkg-deb": "", "ssh": "openssh-client", "ssh-keygen": "openssh-client"}.get(program)
    if package:
        return f"Install it: apt-get install {package}"
    return "The board is built from Debian's packages by apt: it needs a machine with Debian 12 or in its container."


def find_program(program: str, beside: Path | None = None) -> str | None:
    """Where a program lies: on this machine, or in the tools unpacked `beside` us."""
    places = [*os.environ.get("PATH", "").split(os.pathsep), *ROOT_PATHS]
    if beside is not None:
        places += [str(beside / "usr/bin"), str(beside / "usr/sbin"), str(beside / "sbin")]
    return shutil.which(program, path=os.pathsep.join(places))
