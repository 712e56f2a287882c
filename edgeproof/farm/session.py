"""Run one job of the farm in its own process: python -m edgeproof.farm.session KEY PARAMS OUT [REASON].

It runs the session KEY of the study in PARAMS and moves the finished records to OUT at once. With a REASON it abandons
the session instead: every run without a record becomes an error with that reason. exit_codes.py lists the exit codes
after which the dispatcher tries again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeproof import entry
from edgeproof.bench import patience
from edgeproof.bench import session as session_run
from edgeproof.bench.bench_session import BenchSession
from edgeproof.bench.subject import Subject, build_subject
from edgeproof.bench.verdict import DEFAULT_LIMITS, VerdictLimits
from edgeproof.config import params_file
from edgeproof.config.params import BenchParams
from edgeproof.core.errors import DeviceError, DeviceRefusedError, EdgeproofError
from edgeproof.farm import host_errors
from edgeproof.farm.exit_codes import DEVICE_REFUSED, HOST_ERROR, TRY_AGAIN


def main(argv: Sequence[str], limits: VerdictLimits = DEFAULT_LIMITS) -> int:
    """Run or abandon one session and return the exit code."""
    key, study_file, out, *reason = argv
    try:
        study = params_file.read_params(Path(study_file))
        item = study.bench[key]
        subject = build_subject(item, study)
        if reason:
            session = BenchSession(item, subject, limits)
            session.abandon(reason[0])
            session.finish(Path(out))
            return 0
        return run_session(item, subject, Path(out), limits)
    except (EdgeproofError, OSError) as error:
        if not host_errors.is_transient(error):
            raise
        return _report(error, HOST_ERROR)


def run_session(item: BenchParams, subject: Subject, out: Path, limits: VerdictLimits = DEFAULT_LIMITS) -> int:
    """Run a session, move its records to `out`, and return the exit code.

    A busy device is waited for and then measured all the same: a night without records would not say why, and a device
    that other programs use is not broken.
    """
    try:
        patient = replace(patience.read_patience(), measures_busy=True)
        session_run.run(item, subject, limits, patient).finish(out)
    except DeviceRefusedError as error:
        return _report(error, DEVICE_REFUSED)
    except DeviceError as error:
        return _report(error, TRY_AGAIN)
    return 0


def _report(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    entry.run(lambda: main(sys.argv[1:]))
