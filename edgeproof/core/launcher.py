"""Replace this process by a program that ends with its parent: python -m edgeproof.core.launcher PARENT PROGRAM ...

PARENT is the process id of the caller. The program gets SIGTERM when the caller ends, also by SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from edgeproof.core import processes
from edgeproof.core.orphans import TERMINATED


def build_command(program: Sequence[str]) -> list[str]:
    """Return the command that runs `program` until this process ends."""
    return [sys.executable, "-m", "edgeproof.core.launcher", str(os.getpid()), *program]


def main(arguments: Sequence[str]) -> None:
    """Run the program, unless the caller has already ended."""
    parent, *program = arguments
    processes.die_with_parent(signal.SIGTERM)
    if sys.platform == "linux" and os.getppid() != int(parent):
        sys.exit(TERMINATED)
    os.execvp(program[0], program)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
