"""The content of a record as types: what was measured, under which conditions, with which verdict.

Every part is parsed from record.json when it is first used. A part that is missing or of another type raises
ArtifactError, which names the key. Keys that this version doesn't know stay in `Record.content`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ArtifactError
from edgeproof.records.fields import parse_fields, parse_optional
from edgeproof.records.kinds import ACCURACY, INTERLEAVED, RECORD_FILE

MEASURE_AGAIN = "Measure again: raise bench.session in the study, then 'make repro'."

Verdict = Literal["valid", "invalid", "unsupported", "error"]
Array = np.ndarray[Any, Any]
Part = TypeVar("Part")


@dataclass(frozen=True)
class RecordIdentity:
    """The job that a record is of.

    Attributes:
        session: the number of the session in the study, `session_id` its unique name.
        scenario: the study's name of a LoadGen scenario, or one of kinds.UNTIMED.
        process: the number of the process, or of the model's seed in accuracy runs.
        attempt: 0, or the number of the repetition.
        compliance: the MLPerf compliance test that the run is of, such as TEST01.
    """

    study: str
    task: str
    device: str
    session: int
    session_id: str
    preset: str
    runtime: str
    model: str
    scheme: str
    scenario: str
    process: int
    attempt: int
    compliance: str | None = None

    @property
    def is_accuracy(self) -> bool:
        """True for a run over the whole test split."""
        return self.scenario == ACCURACY

    @property
    def file_name(self) -> str:
        """The name of the record's directory: <scenario>.<process>, with the attempt if it was repeated."""
        attempt = f".again{self.attempt}" if self.attempt else ""
        return f"{self.scenario}.{self.process}{attempt}"

    @property
    def is_other_seed(self) -> bool:
        """True for an accuracy run of another seed than the model's first."""
        return self.is_accuracy and self.process > 0


@dataclass(frozen=True)
class ModelDescription:
    """The model that an artifact was exported from.

    Attributes:
        lineage: for each role ('parent', 'teacher', …) the name and sha256 of the model, or its whole description.
        network: the name, the options and the input shape of the architecture.
    """

    method: str
    lineage: Mapping[str, Mapping[str, Any]]
    name: str = ""
    sha256: str = ""
    task: str | None = None
    seed: int | None = None
    options: Mapping[str, Any] | None = None
    network: Mapping[str, Any] | None = None
    parameters: int | None = None
    macs: int | None = None
    weight_sparsity: float | None = None
    entropy_coded_bytes: int | None = None
    validation_accuracy: float | None = None
    data_sha256: str | None = None

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> ModelDescription:
        """Parse the description in a record, or a model's meta.json. Raises KeyError or TypeError."""
        return parse_fields(cls, content, "artifact.model")


@dataclass(frozen=True)
class ArtifactDescription:
    """The artifact that was measured.

    Attributes:
        packages: the converters' versions by name.
        lowered: its files for the runtime.
        unsupported: the reason why the runtime can't make it.
    """

    sha256: str
    model: ModelDescription
    packages: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
    lowered: tuple[str, ...] = ()
    size_bytes: int | None = None
    gzip_bytes: int | None = None
    unsupported: str | None = None

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> ArtifactDescription:
        """Parse a record's 'artifact'. Raises KeyError or TypeError."""
        return parse_fields(cls, content, "artifact", model=ModelDescription.parse(content["model"]))


@dataclass(frozen=True)
class RecordedCard:
    """The part of the device's card that readers of records use."""

    emulated: bool = False
    npu: str | None = None
    budget: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Commit:
    """The commit that measured, and the source files that had uncommitted changes."""

    id: str
    modified: tuple[str, ...]

    def describe(self) -> str:
        """Return the commit and its changes in words."""
        return f"{self.id}, with changes in {', '.join(self.modified)}" if self.modified else self.id


@dataclass(frozen=True)
class RecordedJob:
    """The job that the runner was given: LoadGen's scenario, mode and settings, and the packages of the runtime."""

    scenario: str
    mode: str | None = None
    threads: int | None = None
    settings: Mapping[str, int | float] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordedResult:
    """The runner's result.

    Attributes:
        status: 'done', or 'compared' for an interleaved run. Another status has no figures.
        loadgen: LoadGen's detail log by key.
        fingerprint: the device's properties.
        versions: the versions of packages, None where the device does not know one.
    """

    status: str = ""
    loadgen: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str | None] = field(default_factory=dict)
    threads: int | None = None
    load_ns: int | None = None
    first_inference_ns: int | None = None
    peak_rss_bytes: int | None = None
    energy_method: str | None = None

    @property
    def is_done(self) -> bool:
        """True for a run that ended as it should."""
        return self.status == "done"


@dataclass(frozen=True)
class AccuracyCount:
    """The hits of an accuracy run: `correct` of `total` samples."""

    correct: int
    total: int


@dataclass(frozen=True)
class InterleavedResult:
    """The comparison of an artifact with its partner in one process.

    Attributes:
        model, scheme, artifact_sha256: the partner.
        pairs: how many pairs of blocks were measured.
        log_ratio: the median of the natural logarithms of the pairs' ratios; above 0, the partner is faster.
        duration_ms, order_seed, warm_up_s: the settings of the run.
    """

    model: str
    scheme: str
    pairs: int
    log_ratio: float
    artifact_sha256: str | None = None
    duration_ms: int | None = None
    order_seed: int | None = None
    warm_up_s: float | None = None


@dataclass(frozen=True)
class InstructionCount:
    """The instructions that one inference retires, and the tool that counted them."""

    per_inference: int
    method: str


@dataclass(frozen=True)
class OperatorTime:
    """The time of one operator in a profile."""

    name: str
    kind: str
    time_ns: float


@dataclass(frozen=True)
class Record:
    """A record read from disk.

    Attributes:
        content: record.json as this version's schema has it. Use the typed properties; `content` is for keys of other
            versions and for whole parts that are compared or copied as JSON.
        directory: where the record and its arrays lie.
        schema: the schema on disk, which may be older than this version's.
    """

    content: Mapping[str, Any]
    directory: Path
    schema: int

    @functools.cached_property
    def identity(self) -> RecordIdentity:
        """The job that the record is of."""
        return self._parse(lambda: parse_fields(RecordIdentity, self.content))

    @property
    def verdict(self) -> Verdict:
        """'valid', 'invalid', 'unsupported' or 'error'."""
        verdict: Verdict = self._parse(lambda: self.content["verdict"])
        return verdict

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons of a verdict that is not valid."""
        return self._parse(lambda: tuple(self.content["reasons"]))

    @property
    def measured_at(self) -> str:
        """The beginning of the measurement, ISO 8601 in UTC."""
        return self._parse(lambda: str(self.content["measured_at"]))

    @property
    def order(self) -> int:
        """The job's place in the order of the session."""
        return self._parse(lambda: int(self.content["order"]))

    @property
    def is_disturbed(self) -> bool:
        """True if the state of the machine is the only reason of the verdict."""
        return bool(self.content.get("disturbed"))

    @property
    def is_unreachable(self) -> bool:
        """True if the device could not be reached."""
        return bool(self.content.get("unreachable"))

    @property
    def runner_sha256(self) -> str | None:
        """The beginning of the sha256 of the runner that measured."""
        runner: str | None = self.content.get("runner")
        return runner

    @property
    def harness_p50_ns(self) -> float | None:
        """The median latency of the harness alone, in the same session."""
        harness_p50_ns: float | None = self.content.get("harness_p50_ns")
        return harness_p50_ns

    @property
    def figures(self) -> Mapping[str, float]:
        """The conditions during the run, such as waiting_share."""
        figures: Mapping[str, float] = self.content.get("figures", {})
        return figures

    @property
    def files(self) -> Mapping[str, str]:
        """The sha256 of every file of the record by name."""
        files: Mapping[str, str] = self._parse(lambda: self.content["files"])
        return files

    @functools.cached_property
    def artifact(self) -> ArtifactDescription:
        """The artifact that was measured."""
        return self._parse(lambda: ArtifactDescription.parse(self.content["artifact"]))

    @functools.cached_property
    def card(self) -> RecordedCard:
        """The device's card."""
        return self._parse(lambda: parse_fields(RecordedCard, self.content.get("card", {}), "card"))

    @functools.cached_property
    def commit(self) -> Commit | None:
        """The commit that measured, or None outside a repository."""
        return self._parse(lambda: parse_optional(Commit, self.content, "commit"))

    @functools.cached_property
    def job(self) -> RecordedJob | None:
        """The job that the runner was given, or None where LoadGen did not run."""
        return self._parse(lambda: parse_optional(RecordedJob, self.content, "job"))

    @functools.cached_property
    def result(self) -> RecordedResult | None:
        """The runner's result, or None where the runner was not started."""
        return self._parse(lambda: parse_optional(RecordedResult, self.content, "result"))

    @functools.cached_property
    def accuracy(self) -> AccuracyCount | None:
        """The hits of a valid accuracy run."""
        return self._parse(lambda: parse_optional(AccuracyCount, self.content, "accuracy"))

    @functools.cached_property
    def interleaved(self) -> InterleavedResult | None:
        """The result of an interleaved run."""
        return self._parse(lambda: parse_optional(InterleavedResult, self.content, INTERLEAVED))

    @functools.cached_property
    def instructions(self) -> InstructionCount | None:
        """The instructions of one inference."""
        return self._parse(lambda: parse_optional(InstructionCount, self.content, "instructions"))

    @property
    def profile(self) -> Mapping[str, Any] | None:
        """The profile by operator, with 'method', 'inferences' and 'operators', or with the reason why it is 'missing'."""
        profile: Mapping[str, Any] | None = self.content.get("profile")
        return profile

    @property
    def operators(self) -> list[OperatorTime]:
        """The operators of the profile; none where there is no profile."""
        operators = (self.profile or {}).get("operators", [])
        return self._parse(
            lambda: [parse_fields(OperatorTime, operator, "profile.operators") for operator in operators]
        )

    @property
    def estimate(self) -> Mapping[str, Any] | None:
        """The estimate of an NPU's compiler."""
        estimate: Mapping[str, Any] | None = self.content.get("estimate")
        return estimate

    @property
    def loadgen_scenario(self) -> str | None:
        """LoadGen's scenario, or None where LoadGen did not run."""
        return None if self.job is None else self.job.scenario

    @property
    def performance_scenario(self) -> str | None:
        """LoadGen's scenario of a performance run; None for accuracy runs, compliance runs and records without LoadGen."""
        identity = self.identity
        return None if identity.is_accuracy or identity.compliance else self.loadgen_scenario

    def array(self, file: str, name: str) -> Array:
        """Return one of the record's raw arrays. Raises ArtifactError if it is missing or damaged."""
        with np.load(self.file(file), allow_pickle=False) as arrays:
            array: Array = arrays[name]
        return array

    def file(self, name: str) -> Path:
        """Return the path of one of the record's files. Raises ArtifactError if it is missing or damaged."""
        path = self.directory / name
        if not path.is_file() or hash_file(path) != self.files.get(name):
            raise ArtifactError(f"{path} is missing or damaged. {MEASURE_AGAIN}")
        return path

    def _parse(self, parse: Callable[[], Part]) -> Part:
        try:
            return parse()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
            raise ArtifactError(f"{self.directory / RECORD_FILE} is damaged: {problem}. {MEASURE_AGAIN}") from None
