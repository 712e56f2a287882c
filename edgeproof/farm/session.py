"""One job of the farm as a process of its own: python -m edgeproof.farm.session KEY PARAMS OUT [REASON].

Runs the session KEY of the study in PARAMS and puts its records to OUT, at once and only when it is finished. With a
REASON nothing is run any more: what has no record ends as an error that says so. Ends with 75 where another try may do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edgeproof import entry
from edgeproof.bench import session as bench_session
from edgeproof.bench.subject import Subject, build_subject
from edgeproof.bench.verdict import DEFAULT_LIMITS, VerdictLimits
from edgeproof.config import params_file
from edgeproof.config.params import BenchParams
from edgeproof.core.errors import DeviceError

TRY_AGAIN = 75


def main(argv: Sequence[str], limits: VerdictLimits = DEFAULT_LIMITS) -> int:
    """Run or abandon one session; returns the exit code."""
    key, given, out, *reason = argv
    study = params_file.read_params(Path(given))
    item = study.bench[key]
    what = build_subject(item, study)
    if reason:
        session = bench_session.BenchSession(item, what, limits)
        session.abandon(reason[0])
        session.finish(Path(out))
        return 0
    return run_session(item, what, Path(out), limits)


def run_session(
    item: BenchParams, what: Subject, out: Path, limits: VerdictLimits = DEFAULT_LIMITS
) -> int:
    """Run a session and put its records to `out`; returns the exit code."""
    try:
        bench_session.run(item, what, limits).finish(out)
    except DeviceError as error:
        print(f"error: {error}", file=sys.stderr)
        return TRY_AGAIN
    return 0


if __name__ == "__main__":
    entry.run(lambda: main(sys.argv[1:]))
