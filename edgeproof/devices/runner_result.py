"""The shape of result.json: what a device reports is data to be checked, and one that doesn't fit is no result."""

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

MOST_OPERATORS = MOST_PAIRS = 10_000
Text = Annotated[str, Field(max_length=100_000)]
Name = Annotated[str, Field(max_length=1000)]
Duration = Annotated[int, Field(gt=0, le=10**15)]


class Reported(BaseModel):
    """Strict about types; what a newer runner adds is kept."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Counters(Reported):
    """Readings before or after a run; None where the machine can't tell."""

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


class Window(Reported):
    before: Counters
    after: Counters


class WarmUp(Reported):
    steady: bool
    call_ns: NonNegativeInt
    spread: float
    duration_ns: NonNegativeInt


class Fingerprint(Reported):
    cpu: str | None
    cores: int | None


class Done(Reported):
    """A run that ended as it should."""

    status: Literal["done"]
    loadgen: dict[str, Any]
    load_ns: NonNegativeInt
    first_inference_ns: NonNegativeInt
    peak_rss_bytes: NonNegativeInt
    threads: NonNegativeInt
    counters: Window
    warm_up: WarmUp
    fallbacks: list[Text]
    versions: dict[str, str | None]
    fingerprint: Fingerprint


class Operator(Reported):
    """One operator of a profile."""

    name: Name
    kind: Name
    where: Name
    time_ns: float = Field(ge=0)


class Profiled(Reported):
    """A profile by operator."""

    status: Literal["profiled"]
    method: Name
    inferences: int = Field(gt=0)
    operators: list[Operator] = Field(max_length=MOST_OPERATORS)


class Unprofiled(Reported):
    """Why there is no profile."""

    status: Literal["unprofiled"]
    reason: Text


class Compared(Reported):
    """Two artifacts measured in turns: a pair of blocks an entry."""

    status: Literal["compared"]
    own_ns: list[Duration] = Field(min_length=1, max_length=MOST_PAIRS)
    other_ns: list[Duration] = Field(min_length=1, max_length=MOST_PAIRS)
    threads: NonNegativeInt
    fallbacks: list[Text]
    versions: dict[str, str | None]
    fingerprint: Fingerprint

    @model_validator(mode="after")
    def _are_pairs(self) -> Self:
        if len(self.own_ns) != len(self.other_ns):
            raise ValueError("as many blocks of one artifact as of the other make pairs")
        return self


class Failed(Reported):
    """A run that failed, with what it said."""

    status: Literal["error"]
    error: Text


Result = Done | Profiled | Unprofiled | Compared | Failed
_RESULT: TypeAdapter[Result] = TypeAdapter(Annotated[Result, Field(discriminator="status")])


def checked(content: Any) -> dict[str, Any]:
    """The content of a result.json as it came, once it is known to fit. Raises DeviceError naming what does not."""
    try:
        fitting = _RESULT.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise DeviceError(f"the device's result is not what a runner reports: {where}: {first['msg']}") from None
    if isinstance(fitting, Done) and fitting.counters.after.monotonic_ns <= fitting.counters.before.monotonic_ns:
        raise DeviceError("the device's result is not what a runner reports: its steady clock stood still")
    try:
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        raise DeviceError(
            "the device's result is not what a runner reports: it holds NaN, or text that is none"
        ) from None
    found: dict[str, Any] = content
    return found
