"""One session on one device with one runtime: every artifact measured in fresh processes, in a recorded random order.

The null runtime is measured in the same session, so that the harness's own overhead stands beside every number.
"""

from __future__ import annotations

import collections
import datetime
import hashlib
import itertools
import json
import random
import re
import secrets
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.bench import compliance
from edgeproof.bench import verdict as bench_verdict
from edgeproof.config import cards, packages
from edgeproof.config.params import BenchParams, Params, ScenarioParams
from edgeproof.core import directories, plugins
from edgeproof.core.directories import identity, read_meta, sha256_of
from edgeproof.core.errors import DeviceError, Unreachable, Unsupported
from edgeproof.data import layouts, preparation
from edgeproof.devices import instructions, locks, runner_result, runner_zipapp, vela
from edgeproof.paths import ARTIFACTS, RECORDS, WORK, artifact_name
from edgeproof.progress import Progress
from edgeproof.records import record_files, signing
from edgeproof.records.record_files import Record
from edgeproof.study import git

NULL = "null"
INSTRUCTIONS = "instructions"
ESTIMATE = "estimate"
UNREACHABLE = "unreachable"
SESSION_ID = "session_id"
# A session that began under other rules is not continued under these.
JUDGES = [Path(str(module.__file__)) for module in (bench_verdict, runner_result)] + [Path(__file__)]
STALE_S = 3600
REPEATS = 4
# So many jobs in a row that don't reach the device, and the session is left to be continued when it is back.
GIVEN_UP_AFTER = 3
SHOWN_LINES = 5
MLPERF_DURATION_MS = 600_000
# Of a run in turns: its length, and so many pairs of blocks say what a process's ratio is.
TURNS_MS = 1000
FEWEST_PAIRS = 20
HARNESS_SETTINGS = {"min_duration_ms": 200, "min_query_count": 1024}
# What a runner leaves; whatever else a device sends stays out of the record.
LEFT = re.compile(r"(result\.json|latencies\.npz|telemetry\.csv|user\.conf|audit\.config|mlperf_log_\w+\.(txt|json))")
MOST_ARRAY_BYTES = 2**31

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Job:
    """One process: an artifact in a scenario (or over the whole test split), for the n-th time."""

    runtime: str
    model: str
    scheme: str
    scenario: str
    process: int
    attempt: int = 0

    @property
    def replicate(self) -> int:
        """Which of the model's seeds it measures: accuracy has a run a seed, all else is the first's."""
        return self.process if self.scenario == record_files.ACCURACY else 0

    @property
    def directory(self) -> Path:
        """Where its record lies below the session."""
        again = f".again{self.attempt}" if self.attempt else ""
        return Path(self.runtime, f"{self.model}.{self.scheme}", f"{self.scenario}.{self.process}{again}")


class NotYetError(DeviceError):
    """A job needs what no run of the session has told so far; a repetition may tell it."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What artifacts are fed: float32 inputs (N, *input_shape), and labels (N,) where they are known."""

    inputs: Array
    labels: Array | None


@dataclass(frozen=True)
class Subject:
    """What a session measures, whoever made it.

    Attributes:
        study, task: what records call them.
        artifacts: the directory that holds <model>/<scheme>.
        samples: those of each model.
        score: maps outputs (N, values) and labels (N,) to hits (N,).
        scorer: the file that `score` comes from.
    """

    study: str
    task: str
    artifacts: Path
    samples: Mapping[str, Samples]
    score: Callable[[Array, Array], Array]
    scorer: Path


def bench(key: str, study: Params) -> None:
    """Run the session `key` of the study and write results/records/<key>."""
    item = study.bench[key]
    measured(item, subject(item, study)).finish(RECORDS / key)


def subject(item: BenchParams, study: Params) -> Subject:
    """What a session of a study measures: its artifacts over the task's test split."""
    task = study.task.name
    artifacts = ARTIFACTS / item.runtime
    inputs, labels = preparation.load(task, "test")
    by_layout: dict[str | None, Samples] = {None: Samples(inputs, labels)}
    layout = {model: _layout(artifacts / model) for model in item.artifacts}
    if layouts.CHANNELS_LAST in layout.values():
        by_layout[layouts.CHANNELS_LAST] = Samples(layouts.channels_last(inputs), labels)
    return Subject(
        study=study.study,
        task=task,
        artifacts=artifacts,
        samples={model: by_layout[layout[model]] for model in item.artifacts},
        score=plugins.load("tasks", task).score,
        scorer=plugins.source("tasks", task),
    )


def _layout(model: Path) -> str | None:
    """How a model's artifacts take their samples: None is as the task gives them."""
    metas = [read_meta(path.parent, verify=False) for path in sorted(model.glob(f"*/{directories.META}"))]
    return next((meta[layouts.LAYOUT] for meta in metas if layouts.LAYOUT in meta), None)


def measured(item: BenchParams, what: Subject) -> Session:
    """Run every job of a session; its records are put in place by `finish`."""
    card = cards.card(item.device)
    if cards.python(card, item.runtime) == sys.executable and card.npu is None:
        packages.require(item.packages)
    # An emulator computes on this machine: it would disturb what is measured here.
    with locks.measuring(item.device, here=item.transport == "local" or card.emulated):
        return _measured(item, what)


def _measured(item: BenchParams, what: Subject) -> Session:
    session = Session(item, what)
    waiting = collections.deque(session.jobs())
    order = itertools.count()
    lost: list[Job] = []
    with Progress(f"measuring {item.runtime} on {item.device}", len(waiting)) as progress:
        while waiting:
            job = waiting.popleft()
            record = session.measure(job, next(order))
            if record.content.get(UNREACHABLE):
                lost.append(job)
            elif "result" in record.content:  # the device answered; other jobs never asked it
                lost.clear()
            if len(lost) == GIVEN_UP_AFTER:
                session.forget(lost)
                why = record.content["reasons"][0]
                raise DeviceError(f"device '{item.device}' can't be reached: {why}. The same command continues.")
            # A disturbed run is repeated at the end of the session; its record stays, with its reason.
            if record.content.get("disturbed") and job.attempt < REPEATS:
                waiting.append(replace(job, attempt=job.attempt + 1))
            else:
                progress.advance()
    return session


class Session:
    """The state of one sitting: what was sent to the device, and the records so far.

    An interrupted session continues where it stopped when started again within the hour.
    """

    def __init__(self, item: BenchParams, what: Subject) -> None:
        self._item = item
        self._subject = what
        self._signer = signing.configured()  # one that can't sign is told before anything is measured
        self._card = cards.card(item.device)
        self._python = cards.python(self._card, item.runtime)
        self._metas = {
            (model, scheme, replicate): read_meta(self._artifact(model, scheme, replicate))
            for model, schemes in item.artifacts.items()
            for scheme in schemes
            for replicate in range(len(item.seeds))
        }
        self._runners = {name: runner_zipapp.pack(name, WORK / "runners") for name in {item.runtime, NULL}}
        self._device = cards.transport(item.device, self._card)
        self._samples = self._kept_samples()
        self._commit = git.commit()
        self._harness_ns: int | None = None  # the session's latest valid run of the null runtime
        self._records = WORK / "sessions" / self._digest()
        if self._records.exists() and time.time() - _last_change_s(self._records) > STALE_S:
            shutil.rmtree(self._records)
        self._records.mkdir(parents=True, exist_ok=True)
        self._session_id = self._begun()

    def jobs(self) -> list[Job]:
        """All processes of the session: accuracy, then rounds of the harness alone and the artifacts in a new order."""
        item = self._item
        shuffler = random.Random(f"{item.seed}-{item.session}")  # noqa: S311 - an order, not a secret
        firsts = [(item.runtime, model, scheme) for model, scheme, replicate in self._metas if replicate == 0]
        unsupported = [artifact for artifact in firsts if self._refusal(self._metas[*artifact[1:], 0]) is not None]
        supported = [artifact for artifact in firsts if artifact not in unsupported]
        if self._card.npu is not None:  # nothing is measured there
            estimates = [Job(*artifact, ESTIMATE, 0) for artifact in supported]
            return estimates + [Job(*artifact, "unsupported", 0) for artifact in unsupported]
        harness = [(NULL, *artifact[1:]) for artifact in supported[:1]]
        jobs = [
            Job(*artifact, record_files.ACCURACY, n)
            for artifact in supported
            for n in range(len(item.seeds))
            if self._labels(artifact[1]) is not None
        ]
        jobs += [Job(*artifact, "unsupported", 0) for artifact in unsupported]
        for process in range(item.processes):
            for scenario in item.every:
                round_ = [Job(*artifact, scenario, process) for artifact in supported]
                shuffler.shuffle(round_)
                jobs += [Job(*artifact, scenario, process) for artifact in harness] + round_
        extra = [scenario for scenario in item.all if scenario not in item.every]
        extra += [compliance.scenario(test, scenario) for test in item.compliance for scenario in item.every]
        final = [artifact for artifact in supported if artifact[2] in item.final.get(artifact[1], [])]
        for process in range(item.processes):
            round_ = [Job(*artifact, scenario, process) for artifact in final for scenario in extra]
            shuffler.shuffle(round_)
            jobs += round_
        pairs = [artifact for artifact in supported if self._against(artifact) in supported and not self._card.emulated]
        for process in range(item.turns):
            round_ = [Job(*artifact, record_files.IN_TURNS, process) for artifact in pairs]
            shuffler.shuffle(round_)
            jobs += round_
        if self._card.instructions is not None:
            jobs += [Job(*artifact, INSTRUCTIONS, 0) for artifact in final]
        return jobs + [Job(*artifact, record_files.PROFILE, 0) for artifact in final]

    def _against(self, artifact: tuple[str, str, str]) -> tuple[str, str, str] | None:
        """The runtime, model and scheme that an artifact takes turns with."""
        runtime, model, scheme = artifact
        other = self._item.against.get(model, {}).get(scheme)
        return None if other is None else (runtime, other[0], other[1])

    def measure(self, job: Job, order: int) -> Record:
        """Run one job and write its record; a job that was measured before an interruption is not repeated."""
        target = self._records / job.directory
        if not (target / record_files.FILE).is_file():
            self._measure(job, order, target)
        record = record_files.read(target)
        if job.runtime == NULL and record.verdict == "valid":
            self._harness_ns = record.content["result"]["loadgen"]["result_50.00_percentile_latency_ns"]
        return record

    def forget(self, jobs: Iterable[Job]) -> None:
        """Drop the records of jobs that never reached the device, so that they are measured when it is back."""
        for job in jobs:
            shutil.rmtree(self._records / job.directory, ignore_errors=True)

    def abandon(self, reason: str) -> None:
        """End every job that has no record yet as an error with its reason: nobody will run it."""
        for order, job in enumerate(self.jobs()):
            target = self._records / job.directory
            if job.scenario == "unsupported":
                self.measure(job, order)
            elif not (target / record_files.FILE).is_file():
                content = {"order": order, "measured_at": _now(), "verdict": "error", "reasons": [reason]}
                with directories.written_whole(target) as out:
                    record_files.write(out, {**self._identity(job), **content})

    def _measure(self, job: Job, order: int, target: Path) -> None:
        content = {**self._identity(job), "order": order, "measured_at": _now()}
        if job.scenario != record_files.PROFILE:  # nothing of it is compared with what ran before
            time.sleep(max(self._item.cool_down_s, self._card.cool_down_s))
        meta = self._metas[job.model, job.scheme, job.replicate]
        with directories.written_whole(target) as out:
            if job.scenario == "unsupported":
                content |= {"verdict": "unsupported", "reasons": [self._refusal(meta)]}
            else:
                content |= self._measured_or_error(job, out)
            record_files.write(out, content)
        if content["verdict"] not in ("valid", "unsupported"):
            print(f"  {content['verdict']}: {job.directory}: {'; '.join(content['reasons'])}", file=sys.stderr)

    def _refusal(self, meta: Mapping[str, Any]) -> str | None:
        """Why an artifact can't be measured on this device, or None where it can."""
        if "unsupported" in meta:
            return str(meta["unsupported"])
        if self._card.npu is not None and self._item.runtime != vela.RUNTIME:
            return (
                f"Vela, which estimates Ethos-U's cycles, reads TFLite files alone, not those of {self._item.runtime}"
            )
        return cards.missing(self._item.device, self._card, self._item.runtime)

    def finish(self, target: Path) -> None:
        """Put the whole session in place at once."""
        with directories.written_whole(target) as out:
            shutil.copytree(self._records, out, dirs_exist_ok=True)
            if self._signer is not None:
                signing.sign(out, self._signer)
        shutil.rmtree(self._records)

    def _measured_or_error(self, job: Job, out: Path) -> dict[str, Any]:
        try:
            return self._measured(job, out)
        except NotYetError as error:
            return {"verdict": "invalid", "reasons": [str(error)], "disturbed": True}
        except Unsupported as error:
            return {"verdict": "unsupported", "reasons": [str(error)]}
        except Unreachable as error:
            return {"verdict": "error", "reasons": [str(error)], "disturbed": True, UNREACHABLE: True}
        except DeviceError as error:
            return {"verdict": "error", "reasons": [str(error)]}

    def _estimated(self, job: Job) -> dict[str, Any]:
        """What the compiler of the card's NPU estimates of an artifact."""
        assert self._card.npu is not None
        meta = self._metas[job.model, job.scheme, job.replicate]
        model = next(name for name in meta["lowered"] if name.endswith(".tflite"))
        stored = f"{self._stored(job)}/{model}"
        return vela.judged(self._device, self._python, stored, npu=self._card.npu, timeout_s=self._card.timeout_s)

    def _counted(self, job: Job) -> dict[str, Any]:
        """Instructions of one inference, by the tool that the card names."""
        assert self._card.instructions is not None
        if self._card.threads > 1:
            raise DeviceError("instructions are counted in one thread alone; use a card with 'threads: 1'")
        with self._sent(self._job_file(replace(job, scenario=record_files.ACCURACY))) as name:
            counted = instructions.per_inference(
                self._card.instructions,
                lambda argv: self._device.run(argv, self._card.timeout_s),
                [self._python, "-B"],
                self._runners[job.runtime].name,
                name,
            )
        return {"verdict": "valid", "reasons": [], "instructions": counted}

    def _profiled(self, job: Job, out: Path) -> dict[str, Any]:
        """Where an inference's time goes; without that the artifact is as good as with it, so it is never refused."""
        given = {**self._job_file(replace(job, scenario=record_files.ACCURACY)), "mode": "Profile"}
        result = self._run(given, out)
        told: dict[str, Any] = {key: result[key] for key in ("method", "inferences", "operators") if key in result}
        if result["status"] != "profiled":
            told = {"missing": result.get("reason") or result.get("error") or "the device told none"}
        return {"verdict": "valid", "reasons": [], "profile": told}

    def _compared(self, job: Job, out: Path) -> dict[str, Any]:
        """One process in which the artifact and the one it is compared with take turns."""
        model, scheme = self._item.against[job.model][job.scheme]
        timed = replace(job, scenario=next(iter(self._item.every)))
        given, other = self._job_file(timed), self._job_file(replace(timed, model=model, scheme=scheme))
        given |= {
            "mode": "InTurns",
            "against": other["artifact"],
            "against_samples": other["samples"],
            "order_seed": job.process,
            "duration_ms": TURNS_MS,
        }
        result = self._run(given, out)
        if result["status"] != "compared":
            why = str(result.get("error") or "no comparison came back")
            return {"result": result, "verdict": "error", "reasons": [why]}
        ratios = np.log(result["own_ns"]) - np.log(result["other_ns"])
        reasons = [f"did not run as expected: {line}" for line in result["fallbacks"]]
        if len(ratios) < FEWEST_PAIRS:
            reasons.append(f"too few samples: {len(ratios)} pairs of blocks, at least {FEWEST_PAIRS} are needed")
        reasons += self._another_device(result)
        told = {
            "model": model,
            "scheme": scheme,
            "artifact_sha256": identity(self._metas[model, scheme, 0]),
            "pairs": len(ratios),
            "log_ratio": float(np.median(ratios)),
            **{key: given[key] for key in ("duration_ms", "order_seed", "warm_up_s")},
        }
        verdict = "invalid" if reasons else "valid"
        return {"result": result, "verdict": verdict, "reasons": reasons, record_files.IN_TURNS: told}

    def _another_device(self, result: Mapping[str, Any]) -> list[str]:
        """How what answered is not the device that the card describes."""
        differing = cards.changed(self._card.fingerprint, result.get("fingerprint", {}))
        return [f"not the device that its card describes: {line}" for line in differing]

    def _measured(self, job: Job, out: Path) -> dict[str, Any]:
        if job.scenario == record_files.IN_TURNS:
            return self._compared(job, out)
        if job.scenario == ESTIMATE:
            return self._estimated(job)
        if job.scenario == INSTRUCTIONS:
            return self._counted(job)
        if job.scenario == record_files.PROFILE:
            return self._profiled(job, out)
        given = self._job_file(job)
        result = self._run(given, out)
        timed = result["status"] == "done" and given["mode"] == "PerformanceOnly"
        durations = _durations(out) if timed else None
        judgement = bench_verdict.judge(given, result, durations, emulated=self._card.emulated)
        content = {"job": given, "result": result, **judgement.as_content(), "harness_p50_ns": self._harness_ns}
        if another := self._another_device(result):
            return {**content, "verdict": "invalid", "reasons": judgement.reasons + another, "disturbed": False}
        if job.scenario == record_files.ACCURACY and judgement.verdict == "valid":
            content |= self._scored(job, out)
        return content

    def _run(self, given: dict[str, Any], out: Path) -> dict[str, Any]:
        """Send the job, run it in a process of its own, bring the result back. A failure is a result too."""
        with self._sent(given) as name:
            try:
                argv = [self._python, "-B", self._runners[given["runtime"]].name, name, f"{name}/result"]
                code, printed = self._device.run(argv, self._timeout_s(given))
            except Unreachable:
                raise
            except DeviceError as error:
                return {"status": "error", "error": str(error)}
            try:
                return self._result(name, out)
            except Unreachable:
                raise
            except DeviceError as error:
                why = _ended(code, printed) if code != 0 else f"the runner ended, but {error}"
                return {"status": "error", "error": why}

    @contextmanager
    def _sent(self, given: Mapping[str, Any]) -> Iterator[str]:
        """The job and its runner on the device, under the name that is yielded, for as long as the block runs."""
        runner = self._runners[given["runtime"]]
        self._device.push(runner, runner.name)
        # No two jobs share a directory, so what a lost runner still writes is nobody's result.
        name = f"jobs/{secrets.token_hex(8)}"
        with tempfile.TemporaryDirectory() as scratch:
            directories.write_json(Path(scratch, "job.json"), given)
            self._device.push(Path(scratch), name)
        try:
            yield name
        finally:
            self._device.remove(name)

    def _result(self, name: str, out: Path) -> dict[str, Any]:
        """What the runner left. Raises DeviceError where that is nothing that can be read."""
        with tempfile.TemporaryDirectory() as scratch:
            self._device.pull(f"{name}/result", Path(scratch))
            try:
                content = json.loads(Path(scratch, "result.json").read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise DeviceError(f"its result.json can't be read: {type(error).__name__}") from None
            for path in sorted(Path(scratch).iterdir()):
                if path.is_file() and LEFT.fullmatch(path.name) and path.name != "result.json":
                    shutil.copyfile(path, out / path.name)
        return runner_result.checked(content)

    def _timeout_s(self, given: Mapping[str, Any]) -> float:
        """The card's limit, over twice what the job has to last at least."""
        return self._card.timeout_s + 2 * (given["settings"].get("min_duration_ms") or MLPERF_DURATION_MS) / 1000

    def _job_file(self, job: Job) -> dict[str, Any]:
        """What the runner reads as job.json; paths are relative to the job's directory on the device."""
        accuracy = job.scenario == record_files.ACCURACY
        audit, base = compliance.split(job.scenario)
        scenario = next(iter(self._item.every.values())) if accuracy else self._item.all[base]
        samples = self._samples[job.model]
        self._device.push(samples, f"store/{samples.name}")
        return {
            "runtime": job.runtime,
            "artifact": f"../../{self._stored(job)}",
            "samples": f"../../store/{samples.name}",
            "samples_sha256": samples.stem,
            "threads": self._card.threads,
            "mode": "AccuracyOnly" if accuracy else "PerformanceOnly",
            "scenario": scenario.scenario,
            "settings": self._settings(job, scenario),
            "warm_up_s": self._item.warm_up_s,
            "packages": self._item.packages,
            "audit": compliance.AUDITS[audit] if audit else None,
            "energy_counter": self._card.energy_counter,
            "cores": self._card.cores,
            "memory_bytes": None if self._card.memory_mb is None else self._card.memory_mb * 10**6,
        }

    def _stored(self, job: Job) -> str:
        """Where the job's artifact lies on the device, sent there unless it had been."""
        meta = self._metas[job.model, job.scheme, job.replicate]
        name = f"store/{identity(meta)}-{meta['scheme']}"
        self._device.push(self._artifact(job.model, job.scheme, job.replicate), name)
        return name

    def _settings(self, job: Job, scenario: ScenarioParams) -> dict[str, Any]:
        if job.runtime == NULL:  # at this rate an official run's queries would fill any memory
            return HARNESS_SETTINGS
        settings = scenario.settings.model_dump(exclude_none=True)
        if scenario.load is not None:
            settings["server_target_qps"] = scenario.load * 1e9 / self._median_call_ns(job)
        return settings

    def _median_call_ns(self, job: Job) -> float:
        """The artifact's median inference over this session's valid single-stream processes, which ran before."""
        first = next(key for key, scenario in self._item.all.items() if scenario.scenario == "SingleStream")
        place = Job(job.runtime, job.model, job.scheme, first, 0).directory.parent
        runs = [record_files.read(path) for path in sorted((self._records / place).glob(f"{first}.*"))]
        medians = [float(np.median(run.array("latencies.npz", "call_ns"))) for run in runs if run.verdict == "valid"]
        if not medians:
            raise NotYetError(f"{job.directory} needs the latency of {first}, of which no run was valid")
        return float(np.median(medians))

    def _scored(self, job: Job, out: Path) -> dict[str, Any]:
        """Score LoadGen's accuracy log with the task, on the host; keep outputs and hits as arrays."""
        labels = self._labels(job.model)
        assert labels is not None
        log = out / "mlperf_log_accuracy.json"
        try:
            entries = json.loads(log.read_text(encoding="utf-8"))
            outputs = _outputs(entries, len(labels))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DeviceError(f"the device's {log.name} is not LoadGen's: {type(error).__name__}: {error}") from None
        if self._item.preset != "official":
            log.unlink()
        hits = np.asarray(self._subject.score(outputs, labels), bool)
        np.savez_compressed(out / "outputs.npz", outputs=outputs, correct=hits)
        accuracy = {"correct": int(hits.sum()), "total": len(hits)}
        floor = self._item.quality_target
        if hits.mean() >= floor:
            return {"accuracy": accuracy}
        below = f"accuracy {hits.mean():.2%} is below the task's floor of {floor:.2%}"
        return {"accuracy": accuracy, "verdict": "invalid", "reasons": [below]}

    def _identity(self, job: Job) -> dict[str, Any]:
        meta = self._metas[job.model, job.scheme, job.replicate]
        described = {key: value for key, value in meta.items() if key not in ("files", "schema")}
        return {
            "study": self._subject.study,
            "task": self._subject.task,
            "device": self._item.device,
            "card": self._card.model_dump(),
            "session": self._item.session,
            "session_id": self._session_id,
            "preset": self._item.preset,
            "commit": self._commit,
            "compliance": compliance.split(job.scenario)[0],
            "runtime": job.runtime,
            "model": job.model,
            "scheme": job.scheme,
            "scenario": job.scenario,
            "process": job.process,
            "attempt": job.attempt,
            "artifact": {**described, "sha256": identity(meta)},
            "runner": self._runners[job.runtime].stem.removeprefix("runner-"),
        }

    def _begun(self) -> str:
        """This sitting's own name, which no other has, kept where an interrupted one finds it again."""
        path = self._records / SESSION_ID
        if not path.is_file():
            directories.write_text(path, secrets.token_hex(8))
        return path.read_text(encoding="ascii")

    def _artifact(self, model: str, scheme: str, replicate: int) -> Path:
        seeds = self._item.seeds
        return self._subject.artifacts / model / artifact_name(scheme, seeds, seeds[replicate])

    def _labels(self, model: str) -> Array | None:
        return self._subject.samples[model].labels

    def _kept_samples(self) -> dict[str, Path]:
        """Every model's inputs as a file that is called by its sha256."""
        found: dict[Samples, Path] = {}
        for samples in self._subject.samples.values():
            if samples not in found:
                with tempfile.TemporaryDirectory() as scratch:
                    path = Path(scratch, "samples.npy")
                    np.save(path, samples.inputs)
                    found[samples] = WORK / "samples" / f"{sha256_of(path)}.npy"
                    _put(path, found[samples])
        return {model: found[samples] for model, samples in self._subject.samples.items()}

    def _digest(self) -> str:
        parts = [
            self._item.model_dump(mode="json"),
            sorted(map(identity, self._metas.values())),
            self._card.model_dump(),
            {model: path.stem for model, path in self._samples.items()},
            {model: _sha256(self._labels(model)) for model in self._samples},
            [sha256_of(path) for path in (*JUDGES, self._subject.scorer)],
        ]
        runners = sorted(path.name for path in self._runners.values())
        return hashlib.sha256(json.dumps([parts, runners], sort_keys=True).encode()).hexdigest()[:16]


def _put(path: Path, target: Path) -> None:
    """Move a file to where others look for it whole or not at all, unless it is there."""
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
        shutil.copyfile(path, partial)
        partial.replace(target)


def _sha256(array: Array | None) -> str | None:
    return None if array is None else hashlib.sha256(array.tobytes()).hexdigest()


def _durations(out: Path) -> Array | None:
    """Every inference's duration in ns, or None where none was kept. Raises DeviceError for what is no such array."""
    path = out / "latencies.npz"
    if not path.is_file():
        return None
    try:  # what a device sent may be anything
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_ARRAY_BYTES:
                raise ValueError(f"it unpacks to more than {MOST_ARRAY_BYTES:,} bytes")
        with np.load(path, allow_pickle=False) as arrays:
            found: dict[str, Array] = {name: arrays[name] for name in ("call_ns", "invoke_ns", "started_ns")}
    except Exception as error:
        raise DeviceError(f"the device's {path.name} can't be read: {error}") from None
    shapes = {array.shape for array in found.values()}
    if len(shapes) != 1 or any(array.dtype != np.uint64 or array.ndim != 1 for array in found.values()):
        raise DeviceError(f"the device's {path.name} doesn't hold an integer an inference")
    return found["call_ns"]


def _ended(code: int, printed: str) -> str:
    """How a runner ended that left no result."""
    tail = " | ".join(printed.splitlines()[-SHOWN_LINES:])
    if code < 0:
        name = signal.Signals(-code).name
        memory = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
        return f"the runner was ended by {name}{memory}: {tail}"
    return f"the runner ended with code {code}: {tail}"


def _last_change_s(directory: Path) -> float:
    return max(path.stat().st_mtime for path in [directory, *directory.rglob(record_files.FILE)])


def _outputs(log: list[Mapping[str, Any]], total: int) -> Array:
    """LoadGen's accuracy log (hex of float32 bytes, any order) to outputs (N, classes). Raises DeviceError on gaps."""
    rows: dict[int, Array] = {}
    for entry in log:
        rows[int(entry["qsl_idx"])] = np.frombuffer(bytes.fromhex(entry["data"]), "<f4")
    if sorted(rows) != list(range(total)) or len({len(row) for row in rows.values()}) != 1:
        raise DeviceError(f"the accuracy log answers {len(rows)} of {total} samples, or with differing lengths")
    outputs = np.stack([rows[index] for index in range(total)])
    if not np.isfinite(outputs).all():
        raise DeviceError(f"{int((~np.isfinite(outputs)).any(1).sum())} of {total} outputs hold NaN or infinity")
    return outputs


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
