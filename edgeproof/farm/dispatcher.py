"""The dispatcher of a farm's run: devices work in parallel, and the sessions of one device run one after another.

A job is finished when its records are in results/history, where they appear at once. So after any crash, the same
command skips finished jobs and runs the others. The journal only adds how often a job has failed, and which jobs were
given up. A job that was given up runs again, and the records that give the reason are kept beside its new ones.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeproof import entry
from edgeproof.config.params import Params
from edgeproof.core.errors import EdgeproofError
from edgeproof.farm import host_errors, journal, leases, quarantine
from edgeproof.farm.engines import FARM, HISTORY, JOURNAL, Engine, JobExit
from edgeproof.farm.exit_codes import DEVICE_REFUSED, HOST_ERROR
from edgeproof.farm.journal import Journal
from edgeproof.farm.live_view import LiveView

MAX_ATTEMPTS = 4
FIRST_PAUSE_S = 30.0
MAX_PAUSE_S = 600.0
POLL_INTERVAL_S = 0.2
# After these exit codes another attempt fails too: the study is wrong, or the device needs a person.
FINAL_CODES = (entry.USAGE_ERROR, DEVICE_REFUSED)

JobOutcome = Literal["done", "failed", "not run"]


@dataclass
class FarmRun:
    """One run of the farm, usually a night.

    Attributes:
        name: names its directories.
        jobs: the device of each job.
        run_job: runs a job and returns how it ended. With a reason, it abandons the job instead.
        stop_jobs: ends all jobs that `run_job` is running, and lets it start no others.
        report: prints a line.
        pause: waits for some seconds. By default a stop of the run ends the wait.
        view: shows the running jobs.
        stop_requested: set when the run is interrupted.
    """

    name: str
    jobs: Mapping[str, str]
    run_job: Callable[[str, str | None], JobExit]
    stop_jobs: Callable[[], None] = lambda: None
    report: Callable[[str], None] = print
    pause: Callable[[float], None] | None = None
    view: LiveView | None = None
    stop_requested: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        directory = FARM / self.name
        self._journal = Journal(directory / JOURNAL)
        damaged: list[str] = []
        events = journal.read(directory / JOURNAL, damaged)
        for line in damaged:
            self.report(f"skipped: {line}")
        self._failures = journal.count_failures(events)
        self._abandoned = {job for job, event in journal.latest_by_job(events).items() if event.kind == "abandoned"}
        self._outcomes: dict[str, JobOutcome] = {}
        self._lock = threading.Lock()

    def run(self) -> dict[str, JobOutcome]:
        """Run all jobs that are not finished, and return each job's outcome."""
        queues: dict[str, list[str]] = {}
        for job, device in self.jobs.items():
            queues.setdefault(device, []).append(job)
        workers = [threading.Thread(target=self._run_device, args=queue, name=queue[0]) for queue in queues.items()]
        try:
            for worker in workers:
                worker.start()
            # Python handles a signal in this thread only, and only between two waits.
            while any(worker.is_alive() for worker in workers):
                for worker in workers:
                    worker.join(POLL_INTERVAL_S)
        except BaseException:
            self.stop_requested.set()
            self.stop_jobs()
            for worker in workers:
                if worker.is_alive():
                    worker.join()
            raise
        return {job: self._outcomes.get(job, "not run") for job in self.jobs}

    def records_directory(self, job: str) -> Path:
        """Return the directory of a finished job's records."""
        return HISTORY / self.name / job

    def _run_device(self, device: str, jobs: Sequence[str]) -> None:
        """Run the jobs of one device one after another."""
        try:
            with leases.hold(device, f"farm run {self.name}"):
                for job in jobs:
                    if not self.stop_requested.is_set():
                        self._note_outcome(job, device, self._run_until_ended(job, device))
        except (EdgeproofError, OSError) as error:
            self.report(f"{device}: {error}")

    def _run_until_ended(self, job: str, device: str) -> JobOutcome:
        if self.records_directory(job).is_dir():
            if job not in self._abandoned:
                return "done"
            if (quarantined := quarantine.find(device)) is not None:
                self.report(f"{device}: {job} was given up: {quarantined}")
                return "failed"
            self._set_records_aside(job)
        host_failures = 0
        while not self.stop_requested.is_set():
            if (quarantined := quarantine.find(device)) is not None:
                return self._abandon(job, device, str(quarantined))
            attempt = self._failures[job] + 1
            result = self._start(job, device, attempt)
            if result.code == 0 and self.records_directory(job).is_dir():
                self._journal.append("done", job, device, attempt)
                return "done"
            if self.stop_requested.is_set():
                break
            reason = result.message or f"exit code {result.code}"
            if result.code == HOST_ERROR:
                host_failures += 1
                self._note_failure(job, device, journal.HOST_FAILURE, host_failures, reason)
                if host_failures >= MAX_ATTEMPTS:  # no records: the disk may be full
                    self._journal.append("abandoned", job, device, 0, reason)
                    return "failed"
                self._wait_before_attempt(host_failures + 1)
                continue
            self._failures[job] = attempt
            self._note_failure(job, device, attempt, attempt, reason)
            if result.code in FINAL_CODES:
                return self._abandon(job, device, reason)
            if attempt >= MAX_ATTEMPTS:
                quarantine.add(device, reason)
            else:
                self._wait_before_attempt(attempt + 1)
        return "not run"

    def _start(self, job: str, device: str, attempt: int) -> JobExit:
        self._journal.append("started", job, device, attempt)
        if self.view is not None:
            self.view.start_job(job)
        return self._run_once(job, None)

    def _run_once(self, job: str, reason: str | None) -> JobExit:
        """Run or abandon a job. An error of this host that may pass is an exit of the job too."""
        try:
            return self.run_job(job, reason)
        except (EdgeproofError, OSError) as error:
            if not host_errors.is_transient(error):
                raise
            return JobExit(HOST_ERROR, str(error))

    def _note_failure(self, job: str, device: str, attempt: int, count: int, reason: str) -> None:
        self._journal.append("failed", job, device, attempt, reason)
        self.report(f"{device}: {job} failed ({count} of {MAX_ATTEMPTS}): {reason}")

    def _abandon(self, job: str, device: str, reason: str) -> JobOutcome:
        """End a job by records that hold the reason, if such records can be written."""
        result = self._run_once(job, reason)
        reason = reason if result.code == 0 else f"{reason}; {result.message}"
        self._journal.append("abandoned", job, device, 0, reason)
        return "failed"

    def _set_records_aside(self, job: str) -> None:
        """Rename the records of a job that was given up, so that it can run again. The history still reads them."""
        directory = self.records_directory(job)
        numbers = itertools.count(1)
        directory.rename(
            next(path for number in numbers if not (path := directory.with_name(f"{job}.given_up_{number}")).exists())
        )

    def _wait_before_attempt(self, attempt: int) -> None:
        """Wait before the second attempt and each later one, twice as long each time."""
        self._wait(min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempt - 2)))

    def _wait(self, duration_s: float) -> None:
        if self.pause is not None:
            self.pause(duration_s)
        else:
            self.stop_requested.wait(duration_s)

    def _note_outcome(self, job: str, device: str, outcome: JobOutcome) -> None:
        with self._lock:
            self._outcomes[job] = outcome
            time_left = ""
            if self.view is not None:
                self.view.end_job(job)
                time_left = self.view.format_time_left()
            self.report(f"{device}: {job} {outcome} ({len(self._outcomes)} of {len(self.jobs)}{time_left})")


def run_study(params: Params, name: str, engine: Engine, report: Callable[[str], None]) -> dict[str, JobOutcome]:
    """Run every session of a study on its devices, and return each job's outcome."""
    jobs = {key: item.device for key, item in params.bench.items()}
    started_s = time.monotonic()
    with LiveView(jobs) as view:
        outcomes = FarmRun(name, jobs, engine.run_job, engine.stop, report, view=view).run()
    done = sum(outcome == "done" for outcome in outcomes.values())
    minutes = (time.monotonic() - started_s) / 60
    report(f"{name}: {done} of {len(outcomes)} jobs done in {minutes:.1f} min. Records: {HISTORY / name}/")
    return outcomes
