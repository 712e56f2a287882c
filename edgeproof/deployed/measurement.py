"""Measure the latency of a bundle's artifact for some seconds, as a gate before it runs for real.

This is no benchmark: LoadGen, warm-up rules and the conditions of records belong to the runner.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

from edgeproof.deployed import inference

WARM_UP_INFERENCES = 3
# With fewer than 36 inferences, the 90th percentile has no upper end of a 95% interval.
MIN_INFERENCES = 64
MAX_INFERENCES = 20_000


def measure(root: Path, *, duration_s: float, threads: int) -> dict[str, Any]:
    """Infer the bundle's samples one after another for `duration_s`. Return all durations and the peak memory."""
    session = inference.load_session(root, threads)
    rows = itertools.cycle(inference.split(inference.load_arrays(root / inference.ARTIFACT, "samples")))
    for row in itertools.islice(rows, WARM_UP_INFERENCES):
        session(*row)
    durations_ns: list[int] = []
    deadline_s = time.monotonic() + duration_s
    while len(durations_ns) < MAX_INFERENCES and (len(durations_ns) < MIN_INFERENCES or time.monotonic() < deadline_s):
        row = next(rows)
        started_ns = time.perf_counter_ns()
        session(*row)
        durations_ns.append(time.perf_counter_ns() - started_ns)
    return {"durations_ns": durations_ns, "peak_rss_bytes": read_peak_rss_bytes()}


def read_peak_rss_bytes() -> int:
    """Return the peak memory of this process. Linux includes the memory of the parent in ru_maxrss, not in VmHWM."""
    with contextlib.suppress(OSError):
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.M)
        if peak is not None:
            return int(peak[1]) * 1024
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes
