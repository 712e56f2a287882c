"""Freed memory stays in the process. The kernel's count of page faults is the judge."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgeproof.models import memory_allocator

# Uses 200 blocks of 8 MiB, four at a time, and prints the page faults that this took.
PROGRAM = """
import ctypes, resource
from edgeproof.models import memory_allocator
{first}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def use(size):
    blocks = [libc.malloc(size) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
use(8 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    use(8 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_page_faults(first: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(first=first)], capture_output=True, encoding="utf-8", check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is the C library of Linux")
def test_blocks_that_were_freed_are_used_again_without_page_faults() -> None:
    default = count_page_faults("")
    kept = count_page_faults("memory_allocator.keep_freed_memory()")
    assert default >= 50 * 4  # at least one for each block, where the system hands out huge pages
    assert kept < default / 10


def test_a_c_library_without_the_function_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    memory_allocator.keep_freed_memory()
