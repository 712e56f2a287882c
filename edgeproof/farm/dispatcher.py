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
from edgeproof.config import compose
from edgeproof.config.cards import CARDS
from edgeproof.config.params import Params, load
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.farm import journal, leases, quarantine
from edgeproof.farm.engines import FARM, HISTORY, JOURNAL, PARAMS, Attempt, Engine
from edgeproof.farm.journal import Journal
from edgeproof.farm.live_view import View
from edgeproof.study import repro, worktrees

TRIES = 4
FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 600.0
LISTENS_S = 0.2


@dataclass
class Run:
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
    start: Callable[[str, str | None], Attempt]
    end: Callable[[], None] = lambda: None
    tell: Callable[[str], None] = print
    pause: Callable[[float], None] | None = None
    view: View | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.directory = FARM / self.name
        self.journal = Journal(self.directory / JOURNAL)
        events = journal.read(self.directory / JOURNAL)
        self._failures = journal.failures(events)
        self._abandoned = {job for job, event in journal.last(events).items() if event.kind == "abandoned"}
        self._outcomes: dict[str, str] = {}
        self._lock = threading.Lock()

    def out(self, job: str) -> Path:
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
                    worker.join(LISTENS_S)
        except BaseException:
            self.stopped.set()
            self.end()
            for worker in workers:
                if worker.is_alive():  # one that is only beginning finds the run stopped
                    worker.join()
            raise
        return {job: self._outcomes.get(job, "left") for job in self.jobs}

    def _work(self, device: str, jobs: Sequence[str]) -> None:
        """The jobs of one device, one after another."""
        try:
            with leases.held(device, f"farm run {self.name}"):
                for job in jobs:
                    if not self.stopped.is_set():
                        self._note(job, device, self._one(job, device))
        except (EdgeproofError, OSError) as error:
            self.tell(f"{device}: {error}")

    def _one(self, job: str, device: str) -> str:
        if self.out(job).is_dir():
            return "failed" if job in self._abandoned else "done"
        while not self.stopped.is_set():
            if (sentence := quarantine.of(device)) is not None:
                return self._abandon(job, device, str(sentence))
            number = self._failures[job] + 1
            self.journal.add("started", job, device, number)
            if self.view is not None:
                self.view.started(job)
            attempt = self.start(job, None)
            if attempt.code == 0 and self.out(job).is_dir():
                self.journal.add("done", job, device, number)
                return "done"
            if self.stopped.is_set():
                break
            why = attempt.said or f"exit code {attempt.code}"
            self._failures[job] = number
            self.journal.add("failed", job, device, number, why)
            self.tell(f"{device}: {job} failed ({number} of {TRIES}): {why}")
            if attempt.code == entry.USAGE_ERROR:  # what is wrong is not the device, and stays so
                return self._abandon(job, device, why)
            if number >= TRIES:
                quarantine.put(device, why)
            else:
                self._wait(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (number - 1)))
        return "left"

    def _abandon(self, job: str, device: str, reason: str) -> str:
        """End a job as records that say why it was not run, where that is possible at all."""
        attempt = self.start(job, reason)
        self.journal.add("abandoned", job, device, 0, reason if attempt.code == 0 else f"{reason}; {attempt.said}")
        return "failed"

    def _wait(self, seconds: float) -> None:
        if self.pause is not None:
            self.pause(seconds)
        else:
            self.stopped.wait(seconds)

    def _note(self, job: str, device: str, outcome: str) -> None:
        with self._lock:
            self._outcomes[job] = outcome
            left = ""
            if self.view is not None:
                self.view.ended(job)
                left = self.view.left()
            self.tell(f"{device}: {job} {outcome} ({len(self._outcomes)} of {len(self.jobs)}{left})")


def prepared(study: str | None, chosen: Sequence[str] | None, name: str) -> tuple[Params, Path]:
    """The study's parameters for a run, kept with it, and the directory that holds what the study has built.

    Raises ConfigError where a run of that name was begun with others.
    """
    number = int(name.replace("-", "")) if name.replace("-", "").isdigit() else 0
    overrides = [f"bench.session={number}"] if number else []
    if chosen is not None:
        overrides.append(f"bench.devices=[{','.join(chosen)}]")
    params = compose.compose(study, overrides)
    built = repro.place(params)
    if not (built / "artifacts").is_dir():
        raise ConfigError(f"nothing of study '{params.study}' is built. Run 'edgeproof repro {params.study}' first.")
    if built != Path():  # cards are this directory's, whatever the study was built with
        shutil.copytree(CARDS, built / CARDS, dirs_exist_ok=True)
        worktrees.bring_ways(built)
    path = FARM / name / PARAMS
    if path.is_file() and load(path) != params:
        raise ConfigError(
            f"the run '{name}' was begun with other parameters ({path}). Give this one a --name of its own."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    compose.write(params, f"farm run {name}", path)
    return params, built


def farm(params: Params, name: str, engine: Engine, tell: Callable[[str], None]) -> dict[str, str]:
    """Run every session of a study on its devices; returns each job's outcome."""
    jobs = {key: item.device for key, item in params.bench.items()}
    began = time.monotonic()
    with View(jobs) as view:
        outcomes = Run(name, jobs, engine.start, engine.end, tell, view=view).run()
    tell(f"{name}: {sum(of == 'done' for of in outcomes.values())} of {len(outcomes)} jobs done "
         f"in {(time.monotonic() - began) / 60:.1f} min; records: {HISTORY / name}/")  # fmt: skip
    return outcomes
