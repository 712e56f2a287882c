"""Run one job: python runner.pyz JOB_DIR RESULT_DIR. Whatever goes wrong is written into the result."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from edgeproof.core import processes
from edgeproof.runner import conditions, describe, telemetry


def main() -> int:
    """Run the job and write result.json, also when it fails."""
    processes.die_with_parent(signal.SIGKILL)
    if sys.argv[1] == telemetry.FLAG:
        telemetry.watch(Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4] or None)
        return 0
    if sys.argv[1] == describe.FLAG:
        describe.tell(*sys.argv[2:])
        return 0
    # These need numpy, which a device that is only described may lack.
    from edgeproof.runner import instruction_count, interleaved, job, profile

    if sys.argv[1] == instruction_count.FLAG:
        instruction_count.count(Path(sys.argv[2]).resolve(), int(sys.argv[3]))
        return 0
    runner = Path(sys.argv[0]).resolve()
    job_dir, result_dir = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    sys.argv[0] = str(runner)  # found again by the telemetry process, whatever the working directory
    result_dir.mkdir(parents=True, exist_ok=True)
    os.chdir(result_dir)
    result: dict[str, Any]
    given: dict[str, Any] = {}
    try:
        given = json.loads((job_dir / "job.json").read_text(encoding="utf-8"))
        if given["mode"] == profile.MODE:
            result = profile.run(given, job_dir)
        elif given["mode"] == interleaved.MODE:
            result = interleaved.run(given, job_dir)
        else:
            result = job.run(given, job_dir, result_dir)
    except Exception as error:
        traceback.print_exc()
        result = {"status": "error", "error": f"{type(error).__name__}: {error}"}
    result["fingerprint"] = conditions.fingerprint(given.get("packages", ()))
    (result_dir / "result.json").write_text(json.dumps(result, indent=1, sort_keys=True), encoding="utf-8")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Runtimes' and LoadGen's destructors at exit take time and prove nothing.
    os._exit(code)
