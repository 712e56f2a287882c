"""The answers of a device's deployment program. A device's answer is untrusted data, so it is checked first."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, StringConstraints, ValidationError

from edgeproof.config.validation import Id
from edgeproof.core.errors import DeviceError
from edgeproof.deployed.deployer import MAX_REASONS, MAX_TEXT_CHARACTERS

MAX_VERSIONS = 10_000
MAX_SHOWN_CHARACTERS = 200

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARACTERS)]
Outcome = Literal["switched", "unchanged", "intact", "missing", "refused", "busy", "failed"]


class Answer(BaseModel):
    """A part of an answer. Types are strict, and unknown keys are refused: host and device program are one version."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DeployedVersion(Answer):
    """A version on the device, as the device describes it."""

    sha256: Sha256
    label: Words
    signer: Words | None
    since: Words
    origin: Words
    runtime: Id | None = Field(description="the runtime that it needs; None if its files are damaged")


class DeviceFigures(Answer):
    """The figures of the short measurement on the device."""

    inferences: int = Field(gt=0, le=10**9)
    p90_ns: NonNegativeInt = Field(le=10**15)
    p90_upper_ns: NonNegativeInt = Field(le=10**15)
    peak_rss_bytes: NonNegativeInt = Field(le=10**15)


class DeviceAnswer(Answer):
    """The answer to one request: its result, and what is on the device afterwards."""

    schema_: Literal[1] = Field(alias="schema")
    nonce: Words
    outcome: Outcome
    reasons: list[Words] = Field(max_length=MAX_REASONS + 1)
    figures: DeviceFigures | None
    current: DeployedVersion | None
    previous: DeployedVersion | None
    held: list[Sha256] = Field(max_length=MAX_VERSIONS)
    free_bytes: NonNegativeInt = Field(le=10**18)


def parse_answer(output: str, nonce: str) -> DeviceAnswer:
    """Return the answer in the last line of a program's output.

    Raises DeviceError for anything else, and for the answer to another request.
    """
    lines = [line for line in output.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    try:
        answer = DeviceAnswer.model_validate_json(last)
    except ValidationError:
        raise DeviceError(
            f"the device's deployment program gave no answer: {last[:MAX_SHOWN_CHARACTERS] or 'no output'}"
        ) from None
    if answer.nonce != nonce:
        raise DeviceError("the device answered another request than this one")
    return answer
