"""Read and write one store from many processes at once: python -m tests.support.store_load ROOT SECONDS.

Twelve processes refresh the store and count its records, six only count them, and two replace sessions by equal ones.
Every count that differs from the number of records on disk is printed, and so is every error. The exit code is the
number of processes that failed.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edgeproof.core.directories import write_atomically
from edgeproof.records import queries, record_files, store

ROLES = (*["refresh"] * 6, *["read"] * 3, "write")
PROCESSES = 20


def run(root: Path, duration_s: float) -> int:
    """Run all processes and return how many of them failed."""
    expected = len(record_files.list_directories(root))
    store.refresh(root)
    deadline = time.monotonic() + duration_s
    # The parent has no open connection, so it may fork. Forked processes start at once.
    children = [_fork(partial(_work, ROLES[n % len(ROLES)], root, expected, deadline, n)) for n in range(PROCESSES)]
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children)


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _work(role: str, root: Path, expected: int, deadline: float, seed: int) -> None:
    draw = random.Random(seed)
    rounds = 0
    while time.monotonic() < deadline:
        if role == "write":
            _replace_session(draw.choice(sorted(root.iterdir())))
            time.sleep(0.5 + draw.random())
            continue
        if role == "refresh":
            counted = store.refresh(root).records
            assert counted == expected, f"the state has {counted} records"
        answer = queries.ask("SELECT count(*), count(DISTINCT path) FROM records", root).fetchone()
        assert answer == (expected, expected), f"the store has {answer} lines"
        rounds += 1
    if role == "write":
        return
    print(f"{role}: {rounds} rounds", flush=True)  # os._exit() writes no buffer


def _replace_session(session: Path) -> None:
    """Write the same session again, as a repeated measurement or a DVC checkout does."""
    if session.name.startswith("."):
        return
    with write_atomically(session) as out:
        shutil.copytree(session, out, dirs_exist_ok=True, copy_function=shutil.copyfile)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), float(sys.argv[2])))
