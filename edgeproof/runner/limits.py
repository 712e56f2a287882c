"""Make the device smaller than the machine: limit the runner's processors and memory.

The memory limit is RLIMIT_DATA, which counts the process's own writable memory: heap, anonymous and private mappings,
stacks of threads. Files that are only read do not count, because their pages can be dropped and read again. A process
needs no special rights to set these limits.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from pathlib import Path


def apply(cores: Sequence[int] | None, memory_bytes: int | None) -> None:
    """Limit this process and all processes that it starts later. Raises OSError or ValueError if that is impossible."""
    if cores is not None:
        threads = {int(path.name) for path in Path("/proc/self/task").glob("*")} or {0}
        for thread in threads:  # numpy has started threads already
            os.sched_setaffinity(thread, cores)
    if memory_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, hard))
