"""Measure the overhead of the farm's scheduler with simulated devices whose jobs only wait.

    python experiments/farm_overhead.py 1000 20 1.0        # devices, jobs per device, seconds per job

Prints the wall time, the ideal time of the work, the overhead and the peak memory.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

from edgeproof.farm.dispatcher import FarmRun
from edgeproof.farm.engines import HISTORY, JobExit


def main(devices: int, jobs: int, job_s: float) -> None:
    """Run `jobs` jobs of `job_s` seconds on each of `devices` devices."""
    threading.stack_size(1 << 18)
    os.chdir(tempfile.mkdtemp())

    def start(job: str, reason: str | None) -> JobExit:
        time.sleep(job_s)
        Path(HISTORY, "simulated", job).mkdir(parents=True)
        return JobExit(0, "")

    work = {f"d{device}_{job}": f"d{device}" for device in range(devices) for job in range(jobs)}
    began = time.monotonic()
    outcomes = FarmRun("simulated", work, start, report=lambda line: None).run()
    wall_s = time.monotonic() - began
    assert set(outcomes.values()) == {"done"}
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ideal_s = jobs * job_s
    print(f"{devices} devices × {jobs} jobs of {job_s} s: {wall_s:.1f} s, ideal {ideal_s:.1f} s, "
          f"overhead {wall_s / ideal_s - 1:.1%}, peak {peak_mib:.0f} MiB")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
