"""Plan the jobs of a session and their order. Nothing here reads a file or reaches a device."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgeproof.bench import compliance
from edgeproof.config.cards import Card
from edgeproof.config.params import BenchParams
from edgeproof.core.job import NULL_RUNTIME
from edgeproof.records import kinds


class ArtifactKey(NamedTuple):
    """The name of an artifact, the same for all its seeds."""

    runtime: str
    model: str
    scheme: str


@dataclass(frozen=True)
class Job:
    """One process: an artifact in a scenario, or in another kind of job such as accuracy.

    Attributes:
        process: the number of the process, from 0.
        attempt: the number of the repetition, 0 for the first attempt.
    """

    runtime: str
    model: str
    scheme: str
    scenario: str
    process: int
    attempt: int = 0

    @property
    def artifact(self) -> ArtifactKey:
        """The artifact that is measured."""
        return ArtifactKey(self.runtime, self.model, self.scheme)

    @property
    def replicate(self) -> int:
        """The index of the seed whose artifact is measured. All jobs but accuracy use the first."""
        return self.process if self.scenario == kinds.ACCURACY else 0

    @property
    def directory(self) -> Path:
        """The directory of the job's record, relative to the session's."""
        again = f".again{self.attempt}" if self.attempt else ""
        return Path(self.runtime, f"{self.model}.{self.scheme}", f"{self.scenario}.{self.process}{again}")


def plan_jobs(
    item: BenchParams,
    card: Card,
    *,
    supported: Sequence[ArtifactKey],
    unsupported: Sequence[ArtifactKey],
    labelled: Collection[str],
) -> list[Job]:
    """Return the jobs of a session in the order in which they run.

    Accuracy comes first, for the `labelled` models. Then each round measures the null runtime and every supported
    artifact once, in an order drawn from the session's number. Rounds of the other scenarios, interleaved runs,
    instruction counts and profiles follow. A session that only compares artifacts interleaved profiles none.
    """
    refusals = [Job(*artifact, kinds.UNSUPPORTED, 0) for artifact in unsupported]
    if card.npu is not None:  # the compiler estimates, nothing is measured
        return [Job(*artifact, kinds.ESTIMATE, 0) for artifact in supported] + refusals
    shuffler = random.Random(f"{item.seed}-{item.session}")  # noqa: S311 - an order, not a secret
    final = [artifact for artifact in supported if artifact.scheme in item.final.get(artifact.model, [])]
    jobs = [
        Job(*artifact, kinds.ACCURACY, replicate)
        for artifact in supported
        for replicate in range(len(item.seeds))
        if artifact.model in labelled
    ]
    jobs += refusals
    jobs += _plan_rounds(item, supported, shuffler)
    jobs += _plan_final_rounds(item, final, shuffler)
    if not card.emulated:
        jobs += _plan_interleaved(item, supported, shuffler)
    if card.instructions is not None:
        jobs += [Job(*artifact, kinds.INSTRUCTIONS, 0) for artifact in final]
    return jobs + [Job(*artifact, kinds.PROFILE, 0) for artifact in (supported if item.processes else final)]


def count_processes(item: BenchParams, job: Job) -> int | None:
    """Return the number of processes that a session plans for jobs like this one, or None for untimed jobs."""
    if job.scenario == kinds.ACCURACY:
        return len(item.seeds)
    if job.scenario == kinds.INTERLEAVED:
        return item.interleaved
    return None if job.scenario in kinds.UNTIMED else item.processes


def find_single_stream(item: BenchParams) -> str | None:
    """Return the name of the scenario whose latency decides the load of others, or None if the session has none."""
    return next((name for name, scenario in item.all.items() if scenario.scenario == kinds.SINGLE_STREAM), None)


def get_partner(item: BenchParams, artifact: ArtifactKey) -> ArtifactKey | None:
    """Return the artifact with which an artifact is interleaved, or None."""
    partner = item.against.get(artifact.model, {}).get(artifact.scheme)
    return None if partner is None else ArtifactKey(artifact.runtime, partner[0], partner[1])


def _plan_rounds(item: BenchParams, supported: Sequence[ArtifactKey], shuffler: random.Random) -> list[Job]:
    """Plan the rounds of the scenarios that measure every artifact. Each round begins with the null runtime."""
    jobs = []
    for process in range(item.processes):
        for scenario in item.every:
            round_ = [Job(*artifact, scenario, process) for artifact in supported]
            shuffler.shuffle(round_)
            jobs += [Job(NULL_RUNTIME, *artifact[1:], scenario, process) for artifact in supported[:1]] + round_
    return jobs


def _plan_final_rounds(item: BenchParams, final: Sequence[ArtifactKey], shuffler: random.Random) -> list[Job]:
    """Plan the rounds of the scenarios that measure the final artifacts only."""
    scenarios = [scenario for scenario in item.all if scenario not in item.every]
    scenarios += [compliance.name_scenario(test, scenario) for test in item.compliance for scenario in item.every]
    jobs = []
    for process in range(item.processes):
        round_ = [Job(*artifact, scenario, process) for artifact in final for scenario in scenarios]
        shuffler.shuffle(round_)
        jobs += round_
    return jobs


def _plan_interleaved(item: BenchParams, supported: Sequence[ArtifactKey], shuffler: random.Random) -> list[Job]:
    """Plan the interleaved runs of the artifacts whose partner is supported too."""
    pairs = [artifact for artifact in supported if get_partner(item, artifact) in supported]
    jobs = []
    for process in range(item.interleaved):
        round_ = [Job(*artifact, kinds.INTERLEAVED, process) for artifact in pairs]
        shuffler.shuffle(round_)
        jobs += round_
    return jobs
