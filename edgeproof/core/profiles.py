"""Where an inference's time goes: one number an operator, as the engine's own profiler tells it.

A profiler slows what it watches, so a profile is taken in a process of its own and no latency comes from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

MIN_CALLS, MAX_DURATION_S = 3, 0.3


class Operator(NamedTuple):
    """One operator of the graph that the engine runs.

    `kind` is its type, `where` the provider or kernel that ran it, `time_ns` what it takes in one inference.
    """

    name: str
    kind: str
    where: str
    time_ns: float


class Profile(NamedTuple):
    """The operators in the order in which they ran; `method` says in words what their times are."""

    method: str
    inferences: int
    operators: list[Operator]


def call_repeatedly(call: Callable[[], object], most: int) -> int:
    """Call up to `most` times, fewer when that takes too long; returns how often."""
    started = time.monotonic()
    for count in range(1, most + 1):
        call()
        if count >= MIN_CALLS and time.monotonic() - started > MAX_DURATION_S:
            return count
    return most
