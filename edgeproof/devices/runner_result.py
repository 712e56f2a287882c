"""The shape of result.json. A device's report is untrusted data, so it is checked before anything else reads it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from edgeproof.core.errors import DeviceError
from edgeproof.core.job import MAX_PAIRS, MAX_PREPROCESSED

MAX_OPERATORS = 10_000
ReportText = Annotated[str, Field(max_length=100_000)]
ReportName = Annotated[str, Field(max_length=1000)]
DurationNs = Annotated[int, Field(gt=0, le=10**15)]


class DeviceReport(BaseModel):
    """A part of a report. Types are strict; keys that a newer runner adds are kept."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class CounterSample(DeviceReport):
    """The counters before or after a run. A counter that the machine does not have is None."""

    monotonic_ns: NonNegativeInt
    realtime_ns: NonNegativeInt
    own_cpu_ns: NonNegativeInt
    involuntary_switches: NonNegativeInt
    ticks_per_s: int = Field(gt=0)
    run_delay_ns: NonNegativeInt | None
    cpu_pressure_us: NonNegativeInt | None
    steal_ticks: NonNegativeInt | None
    busy_ticks: NonNegativeInt | None
    frequency_khz: int | None = Field(gt=0)
    temperature_millic: int | None
    voluntary_switches: NonNegativeInt | None = None
    processors: int | None = Field(default=None, gt=0)


class CounterReadings(DeviceReport):
    """The counters before and after a run."""

    before: CounterSample
    after: CounterSample

    def is_clock_stopped(self) -> bool:
        """Return True if the steady clock did not advance during the run."""
        return self.after.monotonic_ns <= self.before.monotonic_ns


class WarmUpReport(DeviceReport):
    """The outcome of a warm-up."""

    steady: bool
    call_ns: NonNegativeInt
    spread: float
    duration_ns: NonNegativeInt


class ReportedFingerprint(DeviceReport):
    """The part of a device's fingerprint that records need."""

    cpu: str | None
    cores: int | None
    quota_cpus: float | None = Field(default=None, gt=0)


class LoadGenResult(DeviceReport):
    """The result of a successful run under LoadGen."""

    status: Literal["done"]
    loadgen: dict[str, Any]
    load_ns: NonNegativeInt
    first_inference_ns: NonNegativeInt
    peak_rss_bytes: NonNegativeInt
    threads: NonNegativeInt
    counters: CounterReadings
    warm_up: WarmUpReport
    fallbacks: list[ReportText]
    states: list[ReportText] | None = None
    memory_plan: Annotated[dict[ReportName, NonNegativeInt], Field(max_length=100)] | None = None
    versions: dict[str, str | None]
    fingerprint: ReportedFingerprint


class ReportedOperator(DeviceReport):
    """One operator of a profile."""

    name: ReportName
    kind: ReportName
    where: ReportName
    time_ns: float = Field(ge=0)


class ReportedPlacement(DeviceReport):
    """The placement of one operator; the reason is empty if it runs on the expected unit."""

    name: ReportName
    kind: ReportName
    where: ReportName
    reason: ReportName


class PlacementReport(DeviceReport):
    """The placement of all operators, or the reason why it is missing."""

    operators: list[ReportedPlacement] | None = Field(default=None, max_length=MAX_OPERATORS)
    missing: ReportText | None = None

    @model_validator(mode="after")
    def _has_one_part(self) -> Self:
        if (self.operators is None) == (self.missing is None):
            raise ValueError("a placement has either 'operators' or 'missing'")
        return self


class PreprocessingReport(DeviceReport):
    """The durations of the preprocessing of raw inputs, or the reason why they are missing."""

    durations_ns: list[DurationNs] | None = Field(default=None, min_length=1, max_length=MAX_PREPROCESSED)
    raw_inputs: ReportText | None = None
    versions: dict[ReportName, ReportName | None] | None = None
    warm_up: WarmUpReport | None = None
    counters: CounterReadings | None = None
    missing: ReportText | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        parts = [self.durations_ns, self.raw_inputs, self.versions, self.warm_up, self.counters]
        if parts.count(None) != (len(parts) if self.missing is not None else 0):
            raise ValueError("a preprocessing has either 'missing' or all other keys")
        if self.counters is not None and self.counters.is_clock_stopped():
            raise ValueError("its steady clock stood still")
        return self


class ProfileResult(DeviceReport):
    """A profile by operator."""

    status: Literal["profiled"]
    method: ReportName
    inferences: int = Field(gt=0)
    operators: list[ReportedOperator] = Field(max_length=MAX_OPERATORS)
    placement: PlacementReport | None = None
    preprocessing: PreprocessingReport | None = None


class ProfileUnavailable(DeviceReport):
    """The reason why there is no profile."""

    status: Literal["unprofiled"]
    reason: ReportText
    placement: PlacementReport | None = None
    preprocessing: PreprocessingReport | None = None


class InterleavedRunResult(DeviceReport):
    """The result of an interleaved run of two artifacts. The lists hold one entry for each pair of blocks."""

    status: Literal["compared"]
    own_ns: list[DurationNs] = Field(min_length=1, max_length=MAX_PAIRS)
    other_ns: list[DurationNs] = Field(min_length=1, max_length=MAX_PAIRS)
    threads: NonNegativeInt
    fallbacks: list[ReportText]
    versions: dict[str, str | None]
    fingerprint: ReportedFingerprint

    @model_validator(mode="after")
    def _are_pairs(self) -> Self:
        if len(self.own_ns) != len(self.other_ns):
            raise ValueError("own_ns and other_ns must have the same length")
        return self


class ErrorResult(DeviceReport):
    """The result of a run that failed, or of one that the device's runtime or processor does not support."""

    status: Literal["error", "unsupported"]
    error: ReportText


RunnerResult = LoadGenResult | ProfileResult | ProfileUnavailable | InterleavedRunResult | ErrorResult
_RESULT: TypeAdapter[RunnerResult] = TypeAdapter(Annotated[RunnerResult, Field(discriminator="status")])


def validate(content: Any) -> dict[str, Any]:
    """Return the content of a result.json unchanged. Raises DeviceError that names the first key that is invalid."""
    try:
        result = _RESULT.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise DeviceError(f"the device's result is not what a runner reports: {where}: {first['msg']}") from None
    if isinstance(result, LoadGenResult) and result.counters.is_clock_stopped():
        raise DeviceError("the device's result is not what a runner reports: its steady clock stood still")
    try:
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        raise DeviceError("the device's result is not what a runner reports: it holds NaN or invalid text") from None
    valid: dict[str, Any] = content
    return valid
