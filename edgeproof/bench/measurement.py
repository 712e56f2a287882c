"""Measure one job on the device according to its kind, and return the outcome for its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.bench import latency_file, quality, verdict
from edgeproof.bench.artifact_set import ArtifactSet
from edgeproof.bench.dispatch import Dispatcher
from edgeproof.bench.runner_jobs import RunnerJobBuilder
from edgeproof.bench.schedule import Job
from edgeproof.bench.subject import Subject
from edgeproof.bench.verdict import VerdictLimits
from edgeproof.config.cards import Card
from edgeproof.config.params import BenchParams
from edgeproof.core.directories import content_sha256
from edgeproof.core.errors import DeviceError
from edgeproof.core.job import PERFORMANCE_MODE, RunnerJob
from edgeproof.devices import device, instructions, vela
from edgeproof.records import kinds
from edgeproof.records.outcomes import JobOutcome, LoadGenRun
from edgeproof.records.record_parts import InterleavedResult, PreprocessingResult


class Measurer:
    """Measures the jobs of one session.

    Attributes:
        harness_ns: the median latency of the harness itself, from the session's latest valid run of the null runtime.
    """

    def __init__(
        self,
        item: BenchParams,
        card: Card,
        subject: Subject,
        artifacts: ArtifactSet,
        dispatcher: Dispatcher,
        builder: RunnerJobBuilder,
        limits: VerdictLimits,
    ) -> None:
        self._item = item
        self._card = card
        self._subject = subject
        self._artifacts = artifacts
        self._dispatcher = dispatcher
        self._builder = builder
        self._limits = limits
        self.harness_ns: int | None = None

    def measure(self, job: Job, out: Path) -> JobOutcome:
        """Measure a job, write its files into `out`, and return the outcome.

        Raises DeviceError or Unsupported for a job that cannot be measured.
        """
        if job.scenario == kinds.INTERLEAVED:
            return self._measure_interleaved(job, out)
        if job.scenario == kinds.ESTIMATE:
            return self._estimate(job)
        if job.scenario == kinds.INSTRUCTIONS:
            return self._count_instructions(job)
        if job.scenario == kinds.PROFILE:
            return self._profile(job, out)
        if job.scenario == kinds.ACCURACY:
            return self._measure_accuracy(job, out)
        return self._measure_scenario(self._builder.build_scenario(job), out)

    def _measure_scenario(self, runner_job: RunnerJob, out: Path) -> JobOutcome:
        """Run one LoadGen test."""
        result = self._dispatcher.run(runner_job, out)
        timed = result["status"] == "done" and runner_job.mode == PERFORMANCE_MODE
        run_verdict = verdict.judge_run(
            runner_job,
            result,
            latency_file.read_call_ns(out) if timed else None,
            self._limits,
            emulated=self._card.emulated,
            device_changes=self._list_device_changes(result),
        )
        run = LoadGenRun(
            runner_job.to_json(), run_verdict.figures, run_verdict.unknown, self.harness_ns, self._limits.to_json()
        )
        return replace(run_verdict.to_outcome(), run=run, result=result)

    def _measure_accuracy(self, job: Job, out: Path) -> JobOutcome:
        runner_job = self._builder.build_accuracy(job)
        outcome = self._measure_scenario(runner_job, out)
        if outcome.verdict != "valid":
            return outcome
        assert self._subject.quality is not None
        result = quality.score_outputs(
            out,
            self._subject.samples[job.model],
            self._subject.quality,
            quality.list_output_ports(self._artifacts.get_meta(job), runner_job.task),
            keep_log=self._item.preset in kinds.OFFICIAL_PRESETS,
        )
        judged = verdict.judge_quality(result.description, result.value, self._item.worst_valid_quality)
        return replace(outcome, quality=result, verdict=judged.verdict, reasons=judged.reasons)

    def _measure_interleaved(self, job: Job, out: Path) -> JobOutcome:
        """Run an artifact and its partner interleaved in one process."""
        model, scheme = self._item.against[job.model][job.scheme]
        runner_job = self._builder.build_interleaved(job)
        assert runner_job.partner is not None
        result = self._dispatcher.run(runner_job, out)
        judged = verdict.judge_interleaved(result, self._limits, device_changes=self._list_device_changes(result))
        outcome = replace(judged.to_outcome(), result=result)
        if result["status"] != "compared":
            return outcome
        log_ratios = np.log(result["own_ns"]) - np.log(result["other_ns"])
        partner = Job(job.runtime, model, scheme, job.scenario, 0)
        comparison = InterleavedResult(
            model=model,
            scheme=scheme,
            artifact_sha256=content_sha256(self._artifacts.get_meta(partner)),
            pairs=len(log_ratios),
            log_ratio=float(np.median(log_ratios)),
            duration_ms=runner_job.partner.duration_ms,
            order_seed=runner_job.partner.order_seed,
            warm_up_s=runner_job.warm_up_s,
        )
        return replace(outcome, interleaved=comparison)

    def _profile(self, job: Job, out: Path) -> JobOutcome:
        """Profile an artifact, list where its operators run, and time the preprocessing of its raw inputs.

        A part that is missing never makes a job fail. If the machine disturbed the preprocessing, the job is repeated.
        """
        runner_job = self._builder.build_profile(job)
        result = self._dispatcher.run(runner_job, out)
        profile: dict[str, Any] = {key: result[key] for key in ("method", "inferences", "operators") if key in result}
        if result["status"] != "profiled":
            profile = {"missing": result.get("reason") or result.get("error") or "the device gave no reason"}
        preprocessing = None if runner_job.preprocessing is None else self._judge_preprocessing(result)
        return JobOutcome(
            "valid",
            # Durations without a figure are those that the machine disturbed.
            disturbed=bool(preprocessing and preprocessing.durations_ns and preprocessing.missing),
            profile=profile,
            placement=result.get("placement"),
            preprocessing=preprocessing,
        )

    def _judge_preprocessing(self, result: Mapping[str, Any]) -> PreprocessingResult:
        """Return the timed preprocessing in a runner's result, with the reason if it is missing or was disturbed."""
        report = result.get("preprocessing") or {"missing": result.get("error") or "the device did not report it"}
        if "missing" in report:
            return PreprocessingResult(missing=report["missing"])
        reasons = [] if self._card.emulated else verdict.explain_disturbances(report, self._limits)
        return PreprocessingResult(
            durations_ns=tuple(report["durations_ns"]),
            raw_inputs=report["raw_inputs"],
            versions=report["versions"],
            warm_up=report["warm_up"],
            counters=report["counters"],
            missing="; ".join(reasons) or None,
        )

    def _count_instructions(self, job: Job) -> JobOutcome:
        """Count the instructions of one inference with the tool that the card names."""
        assert self._card.instructions is not None
        if self._card.threads > 1:
            raise DeviceError("instructions can be counted in one thread only; use a card with 'threads: 1'")
        with self._dispatcher.push_job(self._builder.build_accuracy(job)) as name:
            count = instructions.count_per_inference(
                self._card.instructions,
                lambda argv: self._dispatcher.transport.run(argv, self._card.timeout_s),
                [self._dispatcher.python, "-B"],
                self._dispatcher.get_runner_name(job.runtime),
                name,
            )
        return JobOutcome("valid", instructions=asdict(count))

    def _estimate(self, job: Job) -> JobOutcome:
        """Estimate an artifact's cycles with the compiler of the card's NPU."""
        assert self._card.npu is not None
        model = next(name for name in self._artifacts.get_meta(job)["lowered"] if name.endswith(".tflite"))
        estimate = vela.estimate(
            self._dispatcher.transport,
            self._dispatcher.python,
            f"{self._builder.push_artifact(job)}/{model}",
            npu=self._card.npu,
            timeout_s=self._card.timeout_s,
        )
        judged = verdict.judge_estimate(estimate.cpu_operators)
        return replace(judged.to_outcome(), estimate=asdict(estimate))

    def _list_device_changes(self, result: Mapping[str, Any]) -> list[str]:
        """Return how the device that answered differs from its card."""
        return device.list_changes_of_result(self._card.fingerprint, result)
