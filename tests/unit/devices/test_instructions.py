"""Instruction counts: two runs give one figure, and a tool that counts nothing is an error with its cure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from edgeproof.config.cards import CountMethod
from edgeproof.core.errors import DeviceError
from edgeproof.devices import instructions
from edgeproof.records.record_parts import InstructionCount

START = 1_234_567
EACH = 672_538

CALLGRIND = """==7== Callgrind, a call-graph generating cache profiler
==7== Events    : Ir
==7== Collected : {}
==7==
==7== I   refs:      7,414,745
"""
PERF = """{},,instructions:u,12345678,100.00,,
"""


def make_counter(printed: str, code: int = 0) -> tuple[instructions.RunCommand, list[Sequence[str]]]:
    """Return a device on which a process takes START instructions plus EACH for every inference, and its commands."""
    commands: list[Sequence[str]] = []

    def run(argv: Sequence[str]) -> tuple[int, str]:
        commands.append(argv)
        return code, printed.format(START + EACH * int(argv[-1]))

    return run, commands


@pytest.mark.parametrize(("method", "printed"), [("callgrind", CALLGRIND), ("perf", PERF)])
def test_the_count_of_one_inference_is_the_slope_between_two_runs(method: CountMethod, printed: str) -> None:
    run, commands = make_counter(printed)
    count = instructions.count_per_inference(method, run, ["python3", "-B"], "runner.pyz", "jobs/x")
    assert count == InstructionCount(per_inference=EACH, method=method)
    assert len(commands) == 2
    for argv in commands:
        assert list(argv[:2]) == ["env", "PYTHONHASHSEED=0"]
        assert list(argv[-6:-1]) == ["python3", "-B", "runner.pyz", "--count", "jobs/x"]


def test_the_largest_count_of_several_processes_is_used() -> None:
    run, _ = make_counter("==8== Collected : 17\n" + CALLGRIND)
    assert instructions.count_per_inference("callgrind", run, ["python3"], "r", "j").per_inference == EACH


@pytest.mark.parametrize(
    ("printed", "code"),
    [
        ("env: 'valgrind': No such file or directory", 127),
        ("<not supported>,,instructions:u,0,100.00,,", 0),
        ("==7== Collected : 0", 0),
        ("", 0),
        ("==7== Collected : 99", 1),
    ],
)
@pytest.mark.parametrize("method", ["callgrind", "perf"])
def test_a_tool_that_counts_nothing_is_an_error_with_its_output_and_the_package_to_install(
    method: CountMethod, printed: str, code: int
) -> None:
    run, _ = make_counter(printed, code)
    with pytest.raises(DeviceError, match=re.escape("apt-get install")) as caught:
        instructions.count_per_inference(method, run, ["python3"], "r", "j")
    assert f"exit code {code}" in str(caught.value)
