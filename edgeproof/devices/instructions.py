"""Count the instructions that an engine executes for one inference: a cost that has no noise, unlike the time.

Two processes differ in a known number of inferences and in nothing else, so the difference of their counts belongs to
the inferences. Counts of different nights and hosts agree within a fraction of a percent as long as the engine picks
the same kernels. For example, valgrind does not know AVX-512, so engines use their AVX2 kernels under it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeproof.config.cards import CountMethod
from edgeproof.core.errors import DeviceError
from edgeproof.records.record_parts import InstructionCount

RunCommand = Callable[[Sequence[str]], tuple[int, str]]
SHOWN_LINES = 3


@dataclass(frozen=True)
class InstructionCounter:
    """A tool that counts instructions.

    Attributes:
        command: the tool and its options, to which the measured command is added.
        pattern: finds the count in the tool's output.
        fewer, more: the numbers of inferences of the two processes.
        install: the command that installs the tool.
    """

    command: tuple[str, ...]
    pattern: str
    fewer: int
    more: int
    install: str


COUNTERS: dict[CountMethod, InstructionCounter] = {
    "callgrind": InstructionCounter(
        command=("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=ffi_call"),
        pattern=r"Collected : (\d+)",
        fewer=10,
        more=20,
        install="apt-get install valgrind",
    ),
    # perf counts the whole process, whose start differs by millions of instructions. Many inferences outweigh that.
    "perf": InstructionCounter(
        command=("perf", "stat", "-x,", "-e", "instructions:u"),
        pattern=r"^(\d+),[^,]*,instructions:u",
        fewer=1000,
        more=11000,
        install="apt-get install linux-perf",
    ),
}


def count_per_inference(
    method: CountMethod, run: RunCommand, python: Sequence[str], runner: str, job: str
) -> InstructionCount:
    """Count the engine's instructions for one inference of a job that lies on the device.

    Raises DeviceError when the tool counts nothing.
    """
    counter = COUNTERS[method]
    fewer, more = (
        _count(counter, run, [*python, runner, "--count", job, str(inferences)])
        for inferences in (counter.fewer, counter.more)
    )
    if more <= fewer:
        raise DeviceError(
            f"{method} counted {more:,} instructions for {counter.more} inferences and {fewer:,} for {counter.fewer}"
        )
    return InstructionCount(per_inference=round((more - fewer) / (counter.more - counter.fewer)), method=method)


def _count(counter: InstructionCounter, run: RunCommand, command: Sequence[str]) -> int:
    # Python's hashes decide the layout of its tables, and so the number of instructions of a lookup.
    code, output = run(["env", "PYTHONHASHSEED=0", *counter.command, *command])
    counts = [int(text) for text in re.findall(counter.pattern, output, re.MULTILINE)]
    if code != 0 or not counts or max(counts) == 0:
        tail = " | ".join(output.splitlines()[-SHOWN_LINES:])
        raise DeviceError(
            f"{counter.command[0]} counted no instructions (exit code {code}): {tail}. "
            f"Is it installed? On Debian or Ubuntu: {counter.install}."
        )
    return max(counts)
