"""One session on one device with one runtime: plan its jobs, measure each, and keep the records until all are done."""

from __future__ import annotations

import datetime
import hashlib
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.bench import compliance, load, sample_files, state, verdict
from edgeproof.bench import patience as bench_patience
from edgeproof.bench.artifact_set import ArtifactSet
from edgeproof.bench.dispatch import Dispatcher
from edgeproof.bench.measurement import Measurer
from edgeproof.bench.patience import Patience
from edgeproof.bench.pause import BusyPause
from edgeproof.bench.runner_jobs import RunnerJobBuilder
from edgeproof.bench.schedule import Job, count_processes, find_single_stream, plan_jobs
from edgeproof.bench.state import SessionState
from edgeproof.bench.subject import Subject
from edgeproof.bench.verdict import DEFAULT_LIMITS, VerdictLimits
from edgeproof.config import runtime_extras
from edgeproof.config.params import BenchParams
from edgeproof.core import directories, plugins
from edgeproof.core.directories import content_sha256
from edgeproof.core.errors import DeviceError, DeviceRefusedError, Unsupported
from edgeproof.core.job import NULL_RUNTIME
from edgeproof.devices import device, vela
from edgeproof.records import kinds, record_files, signing
from edgeproof.records.outcomes import JobOutcome, RecordHeader
from edgeproof.records.record import Record
from edgeproof.records.record_parts import RecordIdentity
from edgeproof.study import git

# Jobs that wait for no cool-down: they are not compared with what ran before, or the device does not run them.
WITHOUT_COOL_DOWN = (kinds.PROFILE, kinds.UNSUPPORTED, kinds.ESTIMATE)

Array = np.ndarray[Any, Any]


class BenchSession:
    """One session on one device with one runtime.

    An interrupted session continues where it stopped when it is started again within the hour.
    """

    def __init__(
        self,
        item: BenchParams,
        subject: Subject,
        limits: VerdictLimits = DEFAULT_LIMITS,
        patience: Patience | None = None,
    ) -> None:
        self._item = item
        self._subject = subject
        self._signer = signing.load_configured_key()  # a key that can't sign raises before anything is measured
        self._card = device.read_card(item.device, item.runtime)
        self._absence = self._explain_absence()
        self._artifacts = ArtifactSet(item, subject.artifacts)
        self._dispatcher = Dispatcher(
            item.device, self._card, item.runtime, subject.postprocessing, subject.preprocessing
        )
        self._limits = limits
        self._patience = bench_patience.read_patience() if patience is None else patience
        self._pause = BusyPause(self._look, limits, self._patience)
        samples = sample_files.store_samples(subject.samples)
        self._commit = git.describe_commit()
        self._state = SessionState(self._compute_digest(samples, limits))
        self._builder = RunnerJobBuilder(item, self._card, self._dispatcher, self._artifacts, samples, self._state)
        self._measurer = Measurer(item, self._card, subject, self._artifacts, self._dispatcher, self._builder, limits)

    def plan(self) -> list[Job]:
        """Return the jobs of the session in their order."""
        supported, unsupported = self._artifacts.split_supported(self._explain_unsupported)
        labelled = {model for model, samples in self._subject.samples.items() if samples.targets is not None}
        return plan_jobs(self._item, self._card, supported=supported, unsupported=unsupported, labelled=labelled)

    @property
    def may_repeat_runs(self) -> bool:
        """False if other processes kept the device busy for so long that a disturbed run is not repeated."""
        return self._pause.may_repeat_runs

    def wait_until_quiet(self) -> None:
        """Wait while the device is too busy for a valid run. Raises DeviceError if it stays so.

        Sessions whose times nothing refuses never wait: those of emulated, estimated and fake devices, those with
        interleaved runs only, and those whose limits are infinite.
        """
        limits = self._limits
        is_judged = min(limits.pressure_share, limits.others_cpus) < math.inf
        if not is_judged or self._card.emulated or self._card.npu is not None or self._card.transport == "fake":
            return
        if any(_is_timed(job) and not self._state.has_record(job) for job in self.plan()):
            bench_patience.wait_until_quiet(
                self._item.device,
                self._look,
                limits,
                self._patience,
                list_processes=lambda: load.list_busy_processes(self._dispatcher.transport),
            )

    def measure(self, job: Job, order: int) -> Record:
        """Run one job, write its record and return it. A job that has a record already is not run again."""
        if not self._state.has_record(job):
            self._measure(job, order)
        record = self._state.read_record(job)
        is_harness = job.runtime == NULL_RUNTIME and job.scenario == find_single_stream(self._item)
        if is_harness and record.verdict == "valid" and record.result is not None:
            self._measurer.harness_ns = record.result.loadgen["result_50.00_percentile_latency_ns"]
        return record

    def has_latency(self, job: Job) -> bool:
        """Return True if a valid run has measured the latency from which the job's load follows."""
        return self._builder.has_latency(job)

    def forget(self, jobs: Iterable[Job]) -> None:
        """Delete the records of jobs that never reached the device, so that they are measured when it is back."""
        self._state.forget(jobs)

    def abandon(self, reason: str) -> None:
        """Write an error with the given reason for every job that has no record yet and will never run."""
        for order, job in enumerate(self.plan()):
            if job.scenario == kinds.UNSUPPORTED:
                self.measure(job, order)
            elif not self._state.has_record(job):
                header = self._describe(job, order)
                with directories.write_atomically(self._state.get_directory(job)) as out:
                    record_files.write(out, header, JobOutcome("error", [reason]))

    def finish(self, target: Path) -> None:
        """Put all records of the session in place at once, signed if a key is configured, and end the session."""
        self.store(target)
        self.delete()

    def store(self, target: Path) -> None:
        """Write all records to `target` at once, signed if a key is configured. The session can still be continued."""
        with directories.write_atomically(target) as out:
            self._state.copy_to(out)
            if self._signer is not None:
                signing.sign_session(out, self._signer, target.name)

    def delete(self) -> None:
        """Delete the state of the session, whose records have been stored."""
        self._state.delete()

    def _measure(self, job: Job, order: int) -> None:
        self._pause.wait_until_quiet()
        skipped = self._pause.explain_skipped_run() if _is_timed(job) else None
        if skipped is None and job.scenario not in WITHOUT_COOL_DOWN:
            time.sleep(max(self._item.cool_down_s, self._card.cool_down_s))
        header = self._describe(job, order)
        with directories.write_atomically(self._state.get_directory(job)) as out:
            if skipped is None:
                outcome = self._measure_or_judge_failure(job, out)
            else:
                outcome = JobOutcome("invalid", [skipped], disturbed=True)
            record_files.write(out, header, outcome)
        figures = outcome.run.figures if outcome.disturbed and outcome.run is not None else {}
        self._pause.observe(verdict.list_exceeded_limits(figures, self._limits))
        if outcome.verdict not in ("valid", "unsupported"):
            print(f"  {outcome.verdict}: {job.directory}: {'; '.join(outcome.reasons)}", file=sys.stderr)

    def _measure_or_judge_failure(self, job: Job, out: Path) -> JobOutcome:
        try:
            if job.scenario == kinds.UNSUPPORTED:
                raise Unsupported(str(self._explain_unsupported(self._artifacts.get_meta(job))))
            return self._measurer.measure(job, out)
        except DeviceRefusedError:  # nothing was measured, and the other jobs would be refused too
            raise
        except (DeviceError, Unsupported) as error:
            return verdict.judge_failure(error).to_outcome()

    def _look(self) -> load.DeviceLoad:
        return load.measure_load(self._dispatcher.transport)

    def _explain_unsupported(self, meta: Mapping[str, Any]) -> str | None:
        """Return the reason why an artifact can't be measured on this device, or None if it can."""
        if "unsupported" in meta:
            return str(meta["unsupported"])
        if self._card.npu is not None and self._item.runtime != vela.RUNTIME:
            return f"Vela, which estimates Ethos-U's cycles, reads TFLite files only, not those of {self._item.runtime}"
        runtime = self._item.runtime
        export_only: str | None = getattr(plugins.load("runtimes", runtime), "EXPORT_ONLY", None)
        return export_only or self._absence or device.explain_missing_runtime(self._item.device, self._card, runtime)

    def _explain_absence(self) -> str | None:
        """Return why this Python, if it runs the jobs, lacks a runtime of an extra. See explain_absence()."""
        runs_here = device.choose_interpreter(self._card, self._item.runtime) == sys.executable
        if not runs_here or self._card.npu is not None:
            return None
        return runtime_extras.explain_absence(self._item.runtime, self._item.packages)

    def _describe(self, job: Job, order: int) -> RecordHeader:
        """Return the part of a record that is known before the job runs."""
        meta = self._artifacts.get_meta(job)
        artifact = {key: value for key, value in meta.items() if key not in ("files", "schema")}
        identity = RecordIdentity(
            study=self._subject.study,
            task=self._subject.task,
            device=self._item.device,
            session=self._item.session,
            session_id=self._state.session_id,
            preset=self._item.preset,
            runtime=job.runtime,
            model=job.model,
            scheme=job.scheme,
            scenario=job.scenario,
            process=job.process,
            attempt=job.attempt,
            compliance=compliance.split_scenario(job.scenario)[0],
        )
        return RecordHeader(
            identity,
            card=self._card.model_dump(),
            commit=self._commit,
            artifact={**artifact, "sha256": content_sha256(meta)},
            runner=self._dispatcher.get_runner_sha256(job.runtime),
            order=order,
            measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            processes=count_processes(self._item, job),
        )

    def _compute_digest(self, samples: Mapping[str, Sequence[Path]], limits: VerdictLimits) -> str:
        inputs = [
            self._subject.study,
            self._subject.task,
            self._item.model_dump(mode="json"),
            self._artifacts.list_sha256(),
            self._card.model_dump(),
            {model: [path.stem for path in paths] for model, paths in samples.items()},
            {model: _hash_targets(samples.targets) for model, samples in self._subject.samples.items()},
            repr(limits),
            self._dispatcher.runner_names,
        ]
        return state.compute_digest(inputs, self._subject.scorers)


def _is_timed(job: Job) -> bool:
    """Return True for a run whose verdict depends on what other processes of the device do."""
    return job.scenario not in kinds.UNTIMED


def _hash_targets(targets: Array | None) -> str | None:
    return None if targets is None else hashlib.sha256(targets.tobytes()).hexdigest()
