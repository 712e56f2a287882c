"""Time the preprocessing of raw inputs, such as the decoding of a photograph: before any runtime is loaded, by itself.

One raw input is preprocessed after another in a plain loop, as an application does before an inference. A failure is a
result too: the artifact keeps its other figures.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import layouts, plugins
from edgeproof.core.directories import read_meta
from edgeproof.core.job import MAX_PREPROCESSED, RunnerJob
from edgeproof.core.raw_inputs import RawInputs
from edgeproof.runner import conditions, warmup

# With fewer repetitions, the 90th percentile is not supported.
MIN_REPETITIONS = 100
DURATION_NS = 1_000_000_000

Array = np.ndarray[Any, Any]


def measure(job: RunnerJob, task: str, job_dir: Path, sample: Sequence[Array]) -> dict[str, Any]:
    """Time the preprocessing of a task's raw inputs. Return all durations, or under 'missing' the reason for none.

    `sample` is a sample of the job's artifact, whose shapes and types the preprocessed inputs must have.
    """
    try:
        raw_inputs: RawInputs = plugins.load("tasks", task).RAW_INPUTS
        layout = read_meta(job_dir / job.artifact, verify=False).get(layouts.LAYOUT)
        examples = raw_inputs.make_examples()
        preprocess = _build_preprocess(raw_inputs, channels_last=layout == layouts.CHANNELS_LAST)
        for example in examples:
            _check_inputs(preprocess(example), sample)
        measured = time_preprocessing(preprocess, examples, job.warm_up_s)
    except Exception as error:  # a task's own code may raise anything
        return {"missing": f"{type(error).__name__}: {error}"}
    versions = {name: conditions.read_version(name) for name in ("numpy", *raw_inputs.packages)}
    return {**measured, "raw_inputs": raw_inputs.description, "versions": versions}


def time_preprocessing(
    preprocess: Callable[[Any], Any],
    examples: Sequence[Any],
    warm_up_s: float,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, Any]:
    """Preprocess the examples in turn for DURATION_NS, but at least MIN_REPETITIONS and at most MAX_PREPROCESSED times.

    Return the durations in ns, the outcome of the warm-up, and the machine's counters before and after.
    """
    waiting = itertools.cycle(examples)
    warm_up = warmup.warm_up(lambda: preprocess(next(waiting)), warm_up_s, clock)
    durations_ns: list[int] = []
    gc.collect()
    gc.disable()
    before = conditions.read_counters()
    begin = clock()
    while len(durations_ns) < MAX_PREPROCESSED and (
        len(durations_ns) < MIN_REPETITIONS or clock() - begin < DURATION_NS
    ):
        example = next(waiting)
        started = clock()
        preprocess(example)
        durations_ns.append(clock() - started)
    after = conditions.read_counters()
    gc.enable()
    return {
        "durations_ns": durations_ns,
        "warm_up": warm_up.as_dict(),
        "counters": {"before": before, "after": after},
    }


def _build_preprocess(raw_inputs: RawInputs, *, channels_last: bool) -> Callable[[Any], tuple[Array, ...]]:
    """Return a function from a raw input to what the artifact takes: contiguous arrays in its layout."""

    def preprocess(raw: Any) -> tuple[Array, ...]:
        results = raw_inputs.preprocess(raw)
        arrays = results if isinstance(results, tuple) else (results,)
        if channels_last:
            arrays = layouts.move_channels_last(arrays)
        return tuple(map(np.ascontiguousarray, arrays))

    return preprocess


def _check_inputs(arrays: Sequence[Array], sample: Sequence[Array]) -> None:
    """Raise ValueError for inputs that the artifact does not take: what was timed would be something else."""
    own, expected = ([f"{array.dtype} {list(array.shape)}" for array in given] for given in (arrays, sample))
    if own != expected:
        raise ValueError(f"a raw input became {' and '.join(own)}, and the model takes {' and '.join(expected)}")
