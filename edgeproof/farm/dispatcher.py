"""Run a study's sessions on their devices: devices side by side, the sessions of one device one after another.

A job is finished when its records stand in results/history, where they are put at once. So whatever crashes, the same
command finds what is finished and runs the rest; the journal adds how often a job has failed.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeproof import entry
from edgeproof.config import compose, params_file
from edgeproof.config.cards import CARDS
from edgeproof.config.params import Params
from edgeproof.config.params_file import read_params
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.farm import journal, leases, quarantine
from edgeproof.farm.engines import FARM, HISTORY, JOURNAL, PARAMS, Engine, JobExit
from edgeproof.farm.journal import Journal
from edgeproof.farm.live_view import LiveView
from edgeproof.study import repro, worktrees

MAX_ATTEMPTS = 4
FIRST_PAUSE_S = 30.0
MAX_PAUSE_S = 600.0
POLL_INTERVAL_S = 0.2


@dataclass
class FarmRun:
    """One night: what is to be run, where it is kept, and how a job is started, ended and waited for.

    Attributes:
        jobs: the device of each job.
        start: runs a job and returns how it ended; with a reason it abandons the job instead.
        end: ends whatever `start` is running, and starts nothing any more.
        pause: waits for some seconds; the stop of the run ends it when left out.
        view: shows what runs where.
    """

    name: str
    jobs: Mapping[str, str]
    start: Callable[[str, str | None], JobExit]
    end: Callable[[], None] = lambda: None
    report: Callable[[str], None] = print
    pause: Callable[[float], None] | None = None
    view: LiveView | None = None
    stop_requested: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.directory = FARM / self.name
        self.journal = Journal(self.directory / JOURNAL)
        events = journal.read(self.directory / JOURNAL)
        self._failures = journal.count_failures(events)
        self._abandoned = {job for job, event in journal.latest_by_job(events).items() if event.kind == "abandoned"}
        self._outcomes: dict[str, str] = {}
        self._lock = threading.Lock()

    def records_directory(self, job: str) -> Path:
        """Where a finished job's records stand."""
        return HISTORY / self.name / job

    def run(self) -> dict[str, str]:
        """Run all jobs that are not finished; returns each job's outcome: done, failed, or left (not run)."""
        queues: dict[str, list[str]] = {}
        for job, device in self.jobs.items():
            queues.setdefault(device, []).append(job)
        workers = [threading.Thread(target=self._work, args=queue, name=queue[0]) for queue in queues.items()]
        try:
            for worker in workers:
                worker.start()
            while any(worker.is_alive() for worker in workers):
                for worker in workers:  # a signal may reach another thread, and is heard between two waits
                    worker.join(POLL_INTERVAL_S)
        except BaseException:
            self.stop_requested.set()
            self.end()
            for worker in workers:
                if worker.is_alive():  # one that is only beginning finds the run stopped
                    worker.join()
            raise
        return {job: self._outcomes.get(job, "left") for job in self.jobs}

    def _work(self, device: str, jobs: Sequence[str]) -> None:
        """The jobs of one device, one after another."""
        try:
            with leases.hold(device, f"farm run {self.name}"):
                for job in jobs:
                    if not self.stop_requested.is_set():
                        self._note(job, device, self._one(job, device))
        except (EdgeproofError, OSError) as error:
            self.report(f"{device}: {error}")

    def _one(self, job: str, device: str) -> str:
        if self.records_directory(job).is_dir():
            return "failed" if job in self._abandoned else "done"
        while not self.stop_requested.is_set():
            if (sentence := quarantine.find(device)) is not None:
                return self._abandon(job, device, str(sentence))
            number = self._failures[job] + 1
            self.journal.add("started", job, device, number)
            if self.view is not None:
                self.view.start_job(job)
            attempt = self.start(job, None)
            if attempt.code == 0 and self.records_directory(job).is_dir():
                self.journal.add("done", job, device, number)
                return "done"
            if self.stop_requested.is_set():
                break
            why = attempt.message or f"exit code {attempt.code}"
            self._failures[job] = number
            self.journal.add("failed", job, device, number, why)
            self.report(f"{device}: {job} failed ({number} of {MAX_ATTEMPTS}): {why}")
            if attempt.code == entry.USAGE_ERROR:  # what is wrong is not the device, and stays so
                return self._abandon(job, device, why)
            if number >= MAX_ATTEMPTS:
                quarantine.add(device, why)
            else:
                self._wait(min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (number - 1)))
        return "left"

    def _abandon(self, job: str, device: str, reason: str) -> str:
        """End a job as records that say why it was not run, where that is possible at all."""
        attempt = self.start(job, reason)
        self.journal.add("abandoned", job, device, 0, reason if attempt.code == 0 else f"{reason}; {attempt.message}")
        return "failed"

    def _wait(self, seconds: float) -> None:
        if self.pause is not None:
            self.pause(seconds)
        else:
            self.stop_requested.wait(seconds)

    def _note(self, job: str, device: str, outcome: str) -> None:
        with self._lock:
            self._outcomes[job] = outcome
            left = ""
            if self.view is not None:
                self.view.end_job(job)
                left = self.view.estimate_left()
            self.report(f"{device}: {job} {outcome} ({len(self._outcomes)} of {len(self.jobs)}{left})")


def prepare(study: str | None, chosen: Sequence[str] | None, name: str) -> tuple[Params, Path]:
    """The study's parameters for a run, kept with it, and the directory that holds what the study has built.

    Raises ConfigError where a run of that name was begun with others.
    """
    number = int(name.replace("-", "")) if name.replace("-", "").isdigit() else 0
    overrides = [f"bench.session={number}"] if number else []
    if chosen is not None:
        overrides.append(f"bench.devices=[{','.join(chosen)}]")
    params = compose.compose(study, overrides)
    built = repro.locate_study(params)
    if not (built / "artifacts").is_dir():
        raise ConfigError(f"nothing of study '{params.study}' is built. Run 'edgeproof repro {params.study}' first.")
    if built != Path():  # cards are this directory's, whatever the study was built with
        shutil.copytree(CARDS, built / CARDS, dirs_exist_ok=True)
        worktrees.copy_ssh_configs(built)
    path = FARM / name / PARAMS
    if path.is_file() and read_params(path) != params:
        raise ConfigError(
            f"the run '{name}' was begun with other parameters ({path}). Give this one a --name of its own."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    params_file.write_params(params, f"farm run {name}", path)
    return params, built


def run_study(params: Params, name: str, engine: Engine, tell: Callable[[str], None]) -> dict[str, str]:
    """Run every session of a study on its devices; returns each job's outcome."""
    jobs = {key: item.device for key, item in params.bench.items()}
    began = time.monotonic()
    with LiveView(jobs) as view:
        outcomes = FarmRun(name, jobs, engine.start, engine.end, tell, view=view).run()
    tell(f"{name}: {sum(of == 'done' for of in outcomes.values())} of {len(outcomes)} jobs done "
         f"in {(time.monotonic() - began) / 60:.1f} min; records: {HISTORY / name}/")  # fmt: skip
    return outcomes
