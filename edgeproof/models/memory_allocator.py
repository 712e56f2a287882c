"""Let the C library keep the memory that a training step frees, for the next step.

By default, glibc returns each large block to the system. The next step then pays for the same pages again, because the
system clears every page that it hands out.
"""

from __future__ import annotations

import ctypes

# Names and numbers of malloc.h of glibc.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
# Blocks of up to 32 MiB, the most that glibc accepts, come from the heap. Larger ones are still returned when freed.
HEAP_BLOCK_BYTES = 32 << 20
# Freed memory at the end of the heap that is kept, and the step in which the heap grows.
KEPT_BYTES, GROWTH_BYTES = (1 << 31) - 1, 64 << 20


def keep_freed_memory() -> None:
    """Set the thresholds of glibc's malloc for this process: freed blocks of up to 32 MiB stay in it.

    The results of a computation do not change. Other C libraries are left as they are.
    """
    # On other C libraries the function is missing.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, HEAP_BLOCK_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_TOP_PAD, GROWTH_BYTES)
