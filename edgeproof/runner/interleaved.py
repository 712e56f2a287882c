"""Compare two artifacts in one process, in alternating blocks of about a millisecond.

Whatever the machine does meanwhile affects both artifacts alike. A virtual machine's processor may change its speed
several times a second, as its neighbour on the same core works or rests. Processes that run one after another then
differ by more than the difference to be found. Blocks of calls a millisecond apart do not.

Duet benchmarking is related, but runs both at the same time (Bulej, Horký, Tůma, Farquet, Prokopec: "Duet
Benchmarking: Improving Measurement Accuracy in the Cloud", ICPE 2020). On one core that would measure how the two share
it.
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
from edgeproof.core.job import MAX_PAIRS, RunnerJob
from edgeproof.runner import conditions, limits, warmup
from edgeproof.runner.inference import Inference, load_postprocessing
from edgeproof.runner.outputs import check_outputs
from edgeproof.runner.samples import load_row, open_samples

BLOCK_NS = 1_000_000
# The fewest timed calls of a block. They follow an untimed one, which finds the caches as the other artifact left them.
BLOCK_CALLS = 3
# The fewest pairs of blocks that a run measures, however short its duration. The host needs fewer for a valid run:
# VerdictLimits in edgeproof/bench/verdict.py.
MIN_PAIRS = 40

Array = np.ndarray[Any, Any]
InferenceInput = tuple[Inference, tuple[Array, ...]]


def run(job: RunnerJob, job_dir: Path) -> dict[str, Any]:
    """Compare a job's artifact with its partner and return the content of result.json without the fingerprint.

    The result holds the median call of every block in ns, `own_ns` of the artifact and `other_ns` of the partner.
    """
    if job.partner is None:
        raise ValueError(f"a job with the mode {job.mode} must name a second artifact, under the key 'against'")
    runtime = plugins.load("runtimes", job.runtime)
    order_seed = job.partner.order_seed
    paths = [(job.artifact, job.samples), (job.partner.against, job.partner.against_samples)]
    inputs = [load_row(open_samples(job_dir, samples), 0) for _, samples in paths]
    postprocessing = load_postprocessing(job.task)
    limits.apply(job.cores, job.memory_bytes)
    loaded: dict[int, InferenceInput] = {}
    # The artifact that is loaded first is a tenth of a percent faster or slower, so the order alternates.
    for index in (0, 1) if order_seed % 2 else (1, 0):
        artifact = job_dir / paths[index][0]
        loaded[index] = Inference(runtime.Session(artifact, threads=job.threads), postprocessing), inputs[index]
    inferences = [loaded[0], loaded[1]]
    for inference, sample in inferences:
        check_outputs(inference(*sample), ())
    warm_ups = [warmup.warm_up(partial(inference, *sample), job.warm_up_s) for inference, sample in inferences]
    calls = 1 + max(BLOCK_CALLS, BLOCK_NS // max(warm_up.call_ns for warm_up in warm_ups))
    gc.collect()
    gc.freeze()
    gc.disable()
    own, other = (partial(_measure_block_ns, inference, sample, calls) for inference, sample in inferences)
    own_ns, other_ns = alternate(own, other, job.partner.duration_ms * 1_000_000, order_seed)
    gc.enable()
    return {
        "status": "compared",
        "own_ns": own_ns,
        "other_ns": other_ns,
        "calls": calls - 1,
        "fallbacks": [line for inference, _ in inferences for line in inference.session.fallbacks()],
        "versions": {name: conditions.read_version(name) for name in job.packages},
        "runtime_build": runtime.describe(),
        "threads": job.threads,
    }


def alternate(
    own: Callable[[], int],
    other: Callable[[], int],
    duration_ns: int,
    seed: int,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> tuple[list[int], list[int]]:
    """Measure blocks in pairs until the time is over, each pair in an order drawn with `seed`; return both results."""
    draw = random.Random(seed)  # noqa: S311 - an order, not a secret
    measured: tuple[list[int], list[int]] = ([], [])
    begin = clock()
    while len(measured[0]) < MAX_PAIRS and (len(measured[0]) < MIN_PAIRS or clock() - begin < duration_ns):
        first = draw.randrange(2)
        for side in (first, 1 - first):
            measured[side].append((own, other)[side]())
    return measured


def _measure_block_ns(inference: Inference, sample: tuple[Array, ...], calls: int) -> int:
    """Return the median call of a block in ns, from feeding the inputs to the last step. The first is left out."""
    clock, session = time.perf_counter_ns, inference.session
    feed, invoke, fetch = session.feed, session.invoke, session.fetch
    postprocess = None if inference.postprocessing is None else inference.postprocessing.run
    durations = []
    for _ in range(calls):
        started = clock()
        feed(*sample)
        invoke()
        outputs = fetch()
        if postprocess is not None:
            postprocess(*outputs)
        durations.append(clock() - started)
    return int(np.median(durations[1:]))
