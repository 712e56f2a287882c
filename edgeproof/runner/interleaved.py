"""Two artifacts in one process, a millisecond each in turn: what the machine does meanwhile, it does to both.

A virtual machine's processor may change its speed several times a second, as its neighbour on the same core works or
rests. Processes that run one after another then differ by more than what is looked for; blocks of calls a millisecond
apart do not. Related to duet benchmarking, which runs both at the same time (Bulej, Horký, Tůma, Farquet, Prokopec:
"Duet Benchmarking: Improving Measurement Accuracy in the Cloud", ICPE 2020); on one core that would measure how they
share it.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.runner import conditions, job, limits, warmup

MODE = "InTurns"
BLOCK_NS = 1_000_000
# Timed calls of a block at least, after one that finds the caches as the other artifact left them.
BLOCK_CALLS = 3
FEWEST_PAIRS = 40
MOST_PAIRS = 10_000

Array = np.ndarray[Any, Any]


def run(given: dict[str, Any], job_dir: Path) -> dict[str, Any]:
    """Compare the artifact of job.json with the one it is `against`; returns result.json, the fingerprint apart.

    Beside the keys of every job, `given` holds against and against_samples (paths), order_seed (of who is opened first,
    and who begins in each pair of blocks) and duration_ms. The result holds the medians of all blocks, a pair an entry.
    """
    runtime = plugins.load("runtimes", given["runtime"])
    inputs = {
        name: np.ascontiguousarray(np.load(job_dir / given[name], mmap_mode="r", allow_pickle=False)[:1])
        for name in ("samples", "against_samples")
    }
    limits.apply(given.get("cores"), given.get("memory_bytes"))
    names = [("artifact", "samples"), ("against", "against_samples")]
    opened = {}
    # Which lies first in memory makes a tenth of a percent: every other process has it the other way round.
    for artifact, samples in names if given["order_seed"] % 2 else reversed(names):
        opened[artifact] = runtime.Session(job_dir / given[artifact], threads=given["threads"]), inputs[samples]
    sides = [opened[artifact] for artifact, _ in names]
    for session, x in sides:
        job.check_output(session(x), None)
    warm = [warmup.until_steady(partial(session, x), given["warm_up_s"]) for session, x in sides]
    calls = 1 + max(BLOCK_CALLS, BLOCK_NS // max(of.call_ns for of in warm))
    gc.collect()
    gc.freeze()
    gc.disable()
    blocks = [partial(_block_ns, session, x, calls) for session, x in sides]
    own_ns, other_ns = alternate(blocks[0], blocks[1], given["duration_ms"] * 1_000_000, given["order_seed"])
    gc.enable()
    return {
        "status": "compared",
        "own_ns": own_ns,
        "other_ns": other_ns,
        "calls": calls - 1,
        "fallbacks": [line for session, _ in sides for line in session.fallbacks()],
        "versions": {name: conditions.version(name) for name in given["packages"]},
        "runtime_build": runtime.describe(),
        "threads": given["threads"],
    }


def alternate(
    own: Callable[[], int],
    other: Callable[[], int],
    duration_ns: int,
    seed: int,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> tuple[list[int], list[int]]:
    """Take blocks in pairs, each pair in an order drawn with `seed`, until the time is up; returns both sides'."""
    draw = random.Random(seed)  # noqa: S311 - an order, not a secret
    found: tuple[list[int], list[int]] = ([], [])
    begin = clock()
    while len(found[0]) < MOST_PAIRS and (len(found[0]) < FEWEST_PAIRS or clock() - begin < duration_ns):
        first = draw.randrange(2)
        for side in (first, 1 - first):
            found[side].append((own, other)[side]())
    return found


def _block_ns(session: Any, x: Array, calls: int) -> int:
    """The median call of a block, from the input handed over to the output at hand, but for the first."""
    clock, feed, invoke, fetch = time.perf_counter_ns, session.feed, session.invoke, session.fetch
    durations = []
    for _ in range(calls):
        started = clock()
        feed(x)
        invoke()
        fetch()
        durations.append(clock() - started)
    return int(np.median(durations[1:]))
