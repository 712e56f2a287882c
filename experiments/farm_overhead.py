"""How much the farm's scheduling adds to the work: simulated devices whose jobs only wait, through the real scheduler.

    python experiments/farm_overhead.py 1000 20 1.0        # devices, jobs a device, seconds a job

prints the wall time against the work's ideal time, and the peak memory.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

from edgeproof.farm.dispatcher import Run
from edgeproof.farm.engines import HISTORY, Attempt


def main(devices: int, jobs: int, job_s: float) -> None:
    """Run so many jobs of so many seconds on so many devices."""
    threading.stack_size(1 << 18)
    os.chdir(tempfile.mkdtemp())

    def start(job: str, reason: str | None) -> Attempt:
        time.sleep(job_s)
        Path(HISTORY, "simulated", job).mkdir(parents=True)
        return Attempt(0, "")

    work = {f"d{device}_{job}": f"d{device}" for device in range(devices) for job in range(jobs)}
    began = time.monotonic()
    outcomes = Run("simulated", work, start, tell=lambda line: None).run()
    wall_s = time.monotonic() - began
    assert set(outcomes.values()) == {"done"}
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ideal_s = jobs * job_s
    print(f"{devices} devices × {jobs} jobs of {job_s} s: {wall_s:.1f} s, ideal {ideal_s:.1f} s, "
          f"overhead {wall_s / ideal_s - 1:.1%}, peak {peak_mib:.0f} MiB")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
