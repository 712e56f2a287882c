"""Build the job.json of a planned job, and send the files that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeproof.bench import compliance
from edgeproof.bench.artifact_set import ArtifactSet
from edgeproof.bench.dispatch import Dispatcher
from edgeproof.bench.schedule import Job, find_single_stream
from edgeproof.bench.state import SessionState
from edgeproof.bench.verdict import MissingLatencyError
from edgeproof.config.cards import Card
from edgeproof.config.params import BenchParams, ScenarioParams
from edgeproof.core.job import (
    ACCURACY_MODE,
    INTERLEAVED_MODE,
    NULL_RUNTIME,
    PERFORMANCE_MODE,
    PROFILE_MODE,
    InterleavedPartner,
    RunnerJob,
)
from edgeproof.records.kinds import LATENCIES_FILE

# The duration of one interleaved run.
INTERLEAVED_DURATION_MS = 1000
# The null runtime answers so fast that the queries of an official run would fill any memory.
HARNESS_SETTINGS: Mapping[str, int | float] = {"min_duration_ms": 200, "min_query_count": 1024}


class RunnerJobBuilder:
    """Builds the runner's jobs of one session. Every method sends the artifacts and samples that its job names."""

    def __init__(
        self,
        item: BenchParams,
        card: Card,
        dispatcher: Dispatcher,
        artifacts: ArtifactSet,
        samples: Mapping[str, Sequence[Path]],
        state: SessionState,
    ) -> None:
        self._item = item
        self._card = card
        self._dispatcher = dispatcher
        self._artifacts = artifacts
        self._samples = samples
        self._state = state

    def build_scenario(self, job: Job) -> RunnerJob:
        """Return the job of a LoadGen scenario or of a compliance run."""
        audit, base = compliance.split_scenario(job.scenario)
        text = compliance.AUDITS[audit] if audit else None
        return self._build(job, PERFORMANCE_MODE, self._item.all[base], audit=text)

    def build_accuracy(self, job: Job) -> RunnerJob:
        """Return the job that runs an artifact over all samples, under the settings of the first scenario."""
        return self._build(job, ACCURACY_MODE, next(iter(self._item.every.values())))

    def build_profile(self, job: Job) -> RunnerJob:
        """Return the job that profiles an artifact and times the preprocessing of its task's raw inputs."""
        preprocessing = None if job.runtime == NULL_RUNTIME else self._dispatcher.preprocessing
        return replace(self.build_accuracy(job), mode=PROFILE_MODE, preprocessing=preprocessing)

    def build_interleaved(self, job: Job) -> RunnerJob:
        """Return the job that interleaves an artifact with its partner in one process."""
        model, scheme = self._item.against[job.model][job.scheme]
        timed = replace(job, scenario=next(iter(self._item.every)))
        own = self.build_scenario(timed)
        other = self.build_scenario(replace(timed, model=model, scheme=scheme))
        partner = InterleavedPartner(
            against=other.artifact,
            against_samples=other.samples,
            order_seed=job.process,
            duration_ms=INTERLEAVED_DURATION_MS,
        )
        return replace(own, mode=INTERLEAVED_MODE, partner=partner)

    def push_artifact(self, job: Job) -> str:
        """Send a job's artifact unless the device has it; return its path on the device."""
        return self._dispatcher.push_artifact(self._artifacts.locate(job), self._artifacts.get_meta(job))

    def _build(self, job: Job, mode: str, scenario: ScenarioParams, *, audit: str | None = None) -> RunnerJob:
        samples = self._samples[job.model]
        return RunnerJob(
            runtime=job.runtime,
            artifact=f"../../{self.push_artifact(job)}",
            samples=tuple(f"../../{name}" for name in self._dispatcher.push_samples(samples)),
            samples_sha256=tuple(path.stem for path in samples),
            task=None if job.runtime == NULL_RUNTIME else self._dispatcher.task,
            threads=self._card.threads,
            mode=mode,
            scenario=scenario.scenario,
            settings=self._build_settings(job, scenario),
            warm_up_s=self._item.warm_up_s,
            packages=self._item.packages,
            audit=audit,
            energy_counter=self._card.energy_counter,
            cores=self._card.cores,
            memory_bytes=None if self._card.memory_mb is None else self._card.memory_mb * 10**6,
        )

    def _build_settings(self, job: Job, scenario: ScenarioParams) -> Mapping[str, int | float]:
        if job.runtime == NULL_RUNTIME:
            return HARNESS_SETTINGS
        settings: dict[str, int | float] = scenario.settings.model_dump(exclude_none=True)
        if scenario.load is not None:
            settings["server_target_qps"] = scenario.load * 1e9 / self._read_median_call_ns(job)
        return settings

    def has_latency(self, job: Job) -> bool:
        """Return True if a valid run has measured the latency from which the job's load follows."""
        try:
            self._read_median_call_ns(job)
        except MissingLatencyError:
            return False
        return True

    def _read_median_call_ns(self, job: Job) -> float:
        """Return the artifact's median inference over this session's valid single-stream runs.

        Raises MissingLatencyError if there is none.
        """
        first = find_single_stream(self._item)
        assert first is not None  # the study's checks require one
        records = self._state.read_scenario(job, first)
        medians = [
            float(np.median(record.read_array(LATENCIES_FILE, "call_ns")))
            for record in records
            if record.verdict == "valid"
        ]
        if not medians:
            raise MissingLatencyError(f"{job.directory} needs the latency of {first}, of which no run was valid")
        return float(np.median(medians))
