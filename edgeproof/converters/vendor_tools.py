"""Run a program of a vendor on a network, in a process of its own and for a limited time."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from edgeproof.core import processes
from edgeproof.core.errors import Unsupported

TIMEOUT_S = 1800
MAX_REASON_CHARACTERS = 200


def run_tool(
    name: str, command: Sequence[str], *, cwd: str | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program and return the last line that it prints. `name` is what messages call it.

    `environment` replaces that of this process. Raises Unsupported if the program fails, crashes, or takes too long.
    """
    try:
        process = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise Unsupported(f"{name} did not end within {TIMEOUT_S // 60} minutes on this network") from None
    if process.returncode < 0:
        raise Unsupported(f"{name} ended with {processes.name_signal(-process.returncode)} on this network")
    lines = (process.stdout + process.stderr).decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    if process.returncode > 0:
        raise refuse_network(name, last)
    return last


def refuse_network(name: str, reason: str) -> Unsupported:
    """Return the exception that says that a program can't take a network."""
    return Unsupported(f"{name} can't take this network: {reason[:MAX_REASON_CHARACTERS]}")
