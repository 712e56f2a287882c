"""A device smaller than the machine: the runner keeps itself on some processors and below some memory.

Memory is what a process may write to that is its own (RLIMIT_DATA: heap, anonymous and private mappings, stacks of
threads). Files that are only read are left out, since their pages can be dropped and read again. No rights are needed.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from pathlib import Path


def apply(cores: Sequence[int] | None, memory_bytes: int | None) -> None:
    """Limit this process and all it starts from now on. Raises OSError or ValueError where the machine can't."""
    if cores is not None:
        own = {int(path.name) for path in Path("/proc/self/task").glob("*")} or {0}
        for thread in own:  # numpy has started threads already
            os.sched_setaffinity(thread, cores)
    if memory_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, hard))
