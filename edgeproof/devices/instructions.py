"""A cost without noise beside the noisy time: the instructions that the engine retires for an inference.

Two runs differ by a known number of inferences and by nothing else, so their difference is that of the inferences. The
count compares between nights and hosts within a fraction of a percent, as long as the engine picks the same kernels:
valgrind, for one, knows no AVX-512, so engines use their AVX2 kernels under it. It is a cost, not a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgeproof.core.errors import DeviceError

Method = Literal["callgrind", "perf"]
Run = Callable[[Sequence[str]], tuple[int, str]]
SHOWN_LINES = 3


@dataclass(frozen=True)
class Counter:
    """How a tool is asked, how its count is found in what it prints, and between which numbers of inferences."""

    command: tuple[str, ...]
    pattern: str
    fewer: int
    more: int
    install: str


COUNTERS: dict[Method, Counter] = {
    "callgrind": Counter(
        command=("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=ffi_call"),
        pattern=r"Collected : (\d+)",
        fewer=10,
        more=20,
        install="apt-get install valgrind",
    ),
    # The whole process is counted, and its start differs by millions: enough inferences to drown that.
    "perf": Counter(
        command=("perf", "stat", "-x,", "-e", "instructions:u"),
        pattern=r"^(\d+),[^,]*,instructions:u",
        fewer=1000,
        more=11000,
        install="apt-get install linux-perf",
    ),
}


def per_inference(method: Method, run: Run, python: Sequence[str], runner: str, job: str) -> dict[str, str | int]:
    """The engine's instructions for one inference, and how they were counted. Raises DeviceError where none were."""
    counter = COUNTERS[method]
    fewer, more = (
        _counted(counter, run, [*python, runner, "--count", job, str(inferences)])
        for inferences in (counter.fewer, counter.more)
    )
    if more <= fewer:
        raise DeviceError(f"{method} counted {more:,} instructions for {counter.more} inferences, {fewer:,} for fewer")
    return {"per_inference": round((more - fewer) / (counter.more - counter.fewer)), "method": method}


def _counted(counter: Counter, run: Run, command: Sequence[str]) -> int:
    # Python's hashes decide the layout of its tables, and with it how many instructions a lookup takes.
    code, printed = run(["env", "PYTHONHASHSEED=0", *counter.command, *command])
    found = [int(text) for text in re.findall(counter.pattern, printed, re.MULTILINE)]
    if code != 0 or not found or max(found) == 0:
        tail = " | ".join(printed.splitlines()[-SHOWN_LINES:])
        raise DeviceError(
            f"{counter.command[0]} counted no instructions (exit code {code}): {tail}. "
            f"Is it there? On Debian or Ubuntu: {counter.install}."
        )
    return max(found)
