"""Run one job: python runner.pyz JOB_DIR RESULT_DIR. Every failure is written into the result."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from edgeproof.core import job as core_job
from edgeproof.core import processes
from edgeproof.core.errors import Unsupported
from edgeproof.core.job import INTERLEAVED_MODE, PROFILE_MODE, RunnerJob
from edgeproof.runner import conditions, describe, instruction_count, telemetry


def main() -> int:
    """Run the entry that the command line names and return the exit code."""
    processes.die_with_parent(signal.SIGKILL)
    if sys.argv[1] == telemetry.FLAG:
        telemetry.watch(Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4] or None)
        return 0
    if sys.argv[1] == describe.FLAG:
        describe.print_description(*sys.argv[2:])
        return 0
    if sys.argv[1] == instruction_count.FLAG:
        instruction_count.count(Path(sys.argv[2]).resolve(), int(sys.argv[3]))
        return 0
    run_job(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
    return 0


def run_job(job_dir: Path, result_dir: Path) -> None:
    """Run a job in the directory of its result and write result.json, also when the job fails."""
    sys.argv[0] = str(Path(sys.argv[0]).resolve())  # the telemetry process starts it from another working directory
    result_dir.mkdir(parents=True, exist_ok=True)
    os.chdir(result_dir)
    packages: tuple[str, ...] = ()
    try:
        job = core_job.read(job_dir)
        packages = tuple(job.packages)
        result = _run(job, job_dir, result_dir)
    except Unsupported as reason:
        result = {"status": "unsupported", "error": str(reason)}
    except Exception as error:
        traceback.print_exc()
        result = {"status": "error", "error": f"{type(error).__name__}: {error}"}
    result["fingerprint"] = conditions.read_fingerprint(packages)
    (result_dir / "result.json").write_text(json.dumps(result, indent=1, sort_keys=True), encoding="utf-8")


def _run(job: RunnerJob, job_dir: Path, result_dir: Path) -> dict[str, Any]:
    if job.preprocessing is not None:
        # numpy's matrix products read it when numpy is imported: preprocessing is timed in one thread.
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # These need numpy, which a device may lack when it is only described.
    from edgeproof.runner import interleaved, loadgen_job, profile

    if job.mode == PROFILE_MODE:
        return profile.run(job, job_dir)
    if job.mode == INTERLEAVED_MODE:
        return interleaved.run(job, job_dir)
    return loadgen_job.run(job, job_dir, result_dir)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Destructors of runtimes and of LoadGen take time at exit and show nothing.
    os._exit(code)
