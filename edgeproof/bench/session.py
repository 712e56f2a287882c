"""Run one session: every artifact of one runtime on one device, in fresh processes and in a recorded random order.

The null runtime is measured in the same session, so that the harness's own overhead is known for every number.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable
from dataclasses import replace

from edgeproof.bench.bench_session import BenchSession
from edgeproof.bench.patience import Patience
from edgeproof.bench.schedule import Job, find_single_stream
from edgeproof.bench.subject import Subject, build_subject
from edgeproof.bench.verdict import DEFAULT_LIMITS, VerdictLimits
from edgeproof.config.params import BenchParams, Params
from edgeproof.core.errors import DeviceError
from edgeproof.devices import device, locks
from edgeproof.paths import RECORDS
from edgeproof.progress import Progress
from edgeproof.records.record import Record

# The most repetitions of a disturbed job.
REPEATS = 4
# After this many unreachable jobs in a row the session stops, to be continued when the device is back.
MAX_UNREACHABLE_JOBS = 3

# What a record has if the device answered. Other jobs, such as those of unsupported artifacts, never asked it.
ANSWERS = {"result", "profile", "instructions", "estimate"}


def run_study_session(key: str, study: Params, limits: VerdictLimits = DEFAULT_LIMITS) -> None:
    """Run the session `key` of a study and write results/records/<key>."""
    item = study.bench[key]
    run(item, build_subject(item, study), limits).finish(RECORDS / key)


def run(
    item: BenchParams, subject: Subject, limits: VerdictLimits = DEFAULT_LIMITS, patience: Patience | None = None
) -> BenchSession:
    """Run every job of a session and return the session, whose `finish` puts the records in place.

    `patience` says what to do while other processes keep the device busy; the environment decides if it is left out.

    Raises DeviceError when the device cannot be reached or stays busy. The next call with the same arguments continues
    the session.
    """
    card = device.read_card(item.device, item.runtime)
    # An emulator computes on this machine, so it would disturb measurements here.
    with locks.hold_for_measuring(item.device, here=item.transport == "local" or card.emulated):
        session = BenchSession(item, subject, limits, patience)
        session.wait_until_quiet()
        _run_jobs(session, item)
        return session


def _run_jobs(session: BenchSession, item: BenchParams) -> None:
    waiting = collections.deque(session.plan())
    order = itertools.count()
    unreachable: list[Job] = []
    with Progress(f"measuring {item.runtime} on {item.device}", len(waiting)) as progress:
        while waiting:
            job = waiting.popleft()
            record = session.measure(job, next(order))
            if record.is_unreachable:
                unreachable.append(job)
            elif record.content.keys() & ANSWERS:
                unreachable.clear()
            if len(unreachable) == MAX_UNREACHABLE_JOBS:
                session.forget(unreachable)
                reason = record.reasons[0]
                raise DeviceError(f"device '{item.device}' can't be reached: {reason}. The same command continues.")
            may_repeat = record.is_disturbed and job.attempt < REPEATS and session.may_repeat_runs
            if may_repeat and (record.result is not None or _may_run_later(job, record, session, waiting, item)):
                _schedule_repeat(job, record, waiting)
            else:
                progress.advance()


def _may_run_later(job: Job, record: Record, session: BenchSession, waiting: Iterable[Job], item: BenchParams) -> bool:
    """Return False for a job that needs a latency which nothing has measured or can measure any more."""
    scenario = item.all.get(job.scenario)
    # A continued session may have the latency that was missing before it was interrupted.
    if record.is_unreachable or scenario is None or scenario.load is None or session.has_latency(job):
        return True
    measuring = find_single_stream(item)
    return any(other.artifact == job.artifact and other.scenario == measuring for other in waiting)


def _schedule_repeat(job: Job, record: Record, waiting: collections.deque[Job]) -> None:
    """Add the next attempt of a disturbed job. The record of the earlier attempt stays, with its reason.

    A run that the machine disturbed is repeated at once, so that it is measured beside the other runs of its round. A
    job that did not run, because the device was gone or a latency is missing, is repeated at the end of the session.
    """
    again = replace(job, attempt=job.attempt + 1)
    if record.result is None:
        waiting.append(again)
    else:
        waiting.appendleft(again)
