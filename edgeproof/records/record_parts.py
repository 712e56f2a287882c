"""The parts of a record as frozen dataclasses: job, artifact, card, commit, result and what was measured.

Fields have the names of the keys in record.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from edgeproof.records.fields import parse_fields
from edgeproof.records.kinds import ACCURACY
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import Metric

Verdict = Literal["valid", "invalid", "unsupported", "error"]


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
        federated: rounds, bytes and qualities of a federation, if the model comes from one.
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
    validation_quality: float | None = None
    data_sha256: str | None = None
    federated: Mapping[str, Any] | None = None

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> ModelDescription:
        """Parse the description in a record, or a model's meta.json. Raises KeyError or TypeError.

        Earlier versions wrote the quality of every model as 'validation_accuracy'.
        """
        if isinstance(content, Mapping) and "validation_quality" not in content:
            content = {**content, "validation_quality": content.get("validation_accuracy")}
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
        memory_plan: the bytes that the engine planned for an inference, 'total' and its parts by name.
    """

    status: str = ""
    loadgen: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str | None] = field(default_factory=dict)
    threads: int | None = None
    load_ns: int | None = None
    first_inference_ns: int | None = None
    peak_rss_bytes: int | None = None
    memory_plan: Mapping[str, int] | None = None
    energy_method: str | None = None

    @property
    def is_done(self) -> bool:
        """True for a run that ended as it should."""
        return self.status == "done"


@dataclass(frozen=True)
class QualityResult:
    """The quality of an artifact over the whole test split.

    Attributes:
        metric: the name of the metric. `label` to `interval` are the fields of its description, as Metric has them.
        value: the quality in natural units, a share for a proportion.
        low, high: its 95% interval.
        units: the number of resampling units, which are the rows of the evidence.
    """

    metric: str
    label: str
    unit: str
    scale: float
    digits: int
    better: str
    interval: str
    value: float
    low: float
    high: float
    units: int

    @classmethod
    def build(cls, name: str, metric: Metric, estimate: Estimate, units: int) -> QualityResult:
        """Return the result of a metric with its interval."""
        return cls(name, **metric.to_json(), value=estimate.value, low=estimate.low, high=estimate.high, units=units)

    @property
    def description(self) -> Metric:
        """The description of the metric."""
        return Metric.from_json(asdict(self))

    @property
    def estimate(self) -> Estimate:
        """The quality with its interval."""
        return Estimate(self.value, self.low, self.high)

    @property
    def correct(self) -> int | None:
        """The number of units that are right, or None for a metric that is no proportion."""
        return round(self.value * self.units) if self.description.is_proportion else None


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
class PreprocessingResult:
    """The time from a raw input, such as a photograph, to the input of the model. It is measured outside of LoadGen.

    Attributes:
        durations_ns: the duration of each repetition, in order.
        raw_inputs: what the raw inputs are, and whether they are synthetic.
        versions: the versions of the packages that preprocessed.
        warm_up: the outcome of the warm-up.
        counters: the machine's counters before and after.
        missing: the reason why there is no figure. Durations that the machine disturbed are kept beside it.
    """

    durations_ns: tuple[int, ...] = ()
    raw_inputs: str | None = None
    versions: Mapping[str, str | None] = field(default_factory=dict)
    warm_up: Mapping[str, Any] | None = None
    counters: Mapping[str, Any] | None = None
    missing: str | None = None


@dataclass(frozen=True)
class OperatorTime:
    """The time of one operator in a profile."""

    name: str
    kind: str
    time_ns: float
