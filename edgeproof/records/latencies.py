"""Read the durations of a run's inferences, and check that they can be durations at all."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from edgeproof.core.errors import ArtifactError
from edgeproof.records.kinds import LATENCIES_FILE
from edgeproof.records.record import MEASURE_AGAIN, Record
from edgeproof.statistics.estimates import Array

# An inference of more than an hour is an error of the clock: runs last ten minutes.
MAX_CALL_NS = 3_600 * 10**9
# LoadGen's counts of a performance run. Their product is the number of inferences.
_COUNT_KEYS = ("result_query_count", "generated_samples_per_query")


@dataclass(frozen=True)
class Latencies:
    """The inferences of a run in their order, as arrays (N,) of uint64.

    Attributes:
        call_ns: from feeding the inputs to fetching the outputs, or to the end of the task's postprocessing.
        invoke_ns: the time of the engine within the call.
        started_ns: the start of each inference, 0 for the first.
        postprocess_ns: the time of the task's postprocessing within the call, or None for a task without it.
    """

    call_ns: Array
    invoke_ns: Array
    started_ns: Array
    postprocess_ns: Array | None = None

    @functools.cached_property
    def span_ns(self) -> int:
        """The time from the start of the first inference to the end of the last one."""
        return int(self.started_ns[-1] + self.call_ns[-1])


def read_latencies(record: Record) -> Latencies:
    """Return the durations of a record's inferences.

    Raises ArtifactError for arrays that are missing, damaged, or impossible: of another type or length than the runner
    writes, with a duration that is zero, negative or longer than MAX_CALL_NS, or with inferences that overlap.
    """
    arrays = record.load_all_arrays(LATENCIES_FILE)
    missing = [name for name in ("call_ns", "invoke_ns", "started_ns") if name not in arrays]
    if missing:
        raise ArtifactError(f"{record.directory / LATENCIES_FILE} is damaged: it has no {missing[0]}. {MEASURE_AGAIN}")
    latencies = Latencies(
        arrays["call_ns"], arrays["invoke_ns"], arrays["started_ns"], postprocess_ns=arrays.get("postprocess_ns")
    )
    log = {} if record.result is None else record.result.loadgen
    problem = _find_problem(latencies, log)
    if problem is not None:
        raise ArtifactError(f"{record.directory / LATENCIES_FILE} is damaged: {problem}. {MEASURE_AGAIN}")
    return latencies


def _find_problem(latencies: Latencies, log: Mapping[str, object]) -> str | None:
    stored = {field.name: getattr(latencies, field.name) for field in fields(latencies)}
    arrays = {name: array for name, array in stored.items() if array is not None}
    for name, array in arrays.items():
        if array.dtype != np.uint64 or array.ndim != 1:
            return f"'{name}' is of type {array.dtype} and shape {array.shape}, expected uint64 and (N,)"
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or not latencies.call_ns.size:
        return f"its arrays have the lengths {lengths}, expected one inference or more, with one value each"
    expected = count_inferences(log)
    if expected not in (None, len(latencies.call_ns)):
        return f"it holds {len(latencies.call_ns)} inferences, LoadGen counted {expected}"
    return _find_impossible_time(latencies)


def _find_impossible_time(latencies: Latencies) -> str | None:
    call_ns, invoke_ns, started_ns = latencies.call_ns, latencies.invoke_ns, latencies.started_ns
    # A negative number that was written as uint64 is a huge one.
    if not call_ns.all() or call_ns.max() > MAX_CALL_NS:
        return f"it holds durations from {call_ns.min():,} to {call_ns.max():,} ns"
    if not invoke_ns.all() or (invoke_ns > call_ns).any():
        return "the engine's part of an inference is zero, or longer than the inference"
    if latencies.postprocess_ns is not None and (latencies.postprocess_ns > call_ns - invoke_ns).any():
        return "the engine's part and the postprocessing of an inference are longer than the inference"
    if started_ns[0] != 0 or started_ns.max() > np.uint64(2**63):
        return "its inferences do not start at 0"
    if (started_ns[1:] < started_ns[:-1] + call_ns[:-1]).any():
        return "an inference starts before the previous one has ended"
    return None


def count_inferences(log: Mapping[str, object]) -> int | None:
    """Return the number of inferences by LoadGen's log, or None for a run without these counts."""
    queries, samples = (log.get(key) for key in _COUNT_KEYS)
    return queries * samples if isinstance(queries, int) and isinstance(samples, int) else None
