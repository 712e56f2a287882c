"""Profiles: the time that each operator of a model takes, measured by the engine's own profiler.

A profiler slows an inference down. A profile is therefore taken in a separate process, and no latency comes from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

MIN_CALLS, MAX_DURATION_S = 3, 0.3


class Operator(NamedTuple):
    """One operator of the graph that the engine runs.

    `kind` is its type, `where` the execution provider or kernel that ran it, `time_ns` its time in one inference.
    Records hold these field names.
    """

    name: str
    kind: str
    where: str
    time_ns: float


class Profile(NamedTuple):
    """The operators in the order in which they ran.

    `method` describes how their times were measured; `inferences` is the number of inferences that were profiled.
    """

    method: str
    inferences: int
    operators: list[Operator]


def call_repeatedly(call: Callable[[], object], max_calls: int) -> int:
    """Call `call` up to `max_calls` times and return the number of calls.

    Stop after MAX_DURATION_S seconds, but not before MIN_CALLS calls.
    """
    started = time.monotonic()
    for count in range(1, max_calls + 1):
        call()
        if count >= MIN_CALLS and time.monotonic() - started > MAX_DURATION_S:
            return count
    return max_calls
