"""The content of a new record, as the bench writes it: a header known before the job runs, and its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeproof.records.kinds import INTERLEAVED
from edgeproof.records.record_parts import (
    InterleavedResult,
    PreprocessingResult,
    QualityResult,
    RecordIdentity,
    Verdict,
)


@dataclass(frozen=True)
class RecordHeader:
    """The part of a record that is known before its job runs.

    Attributes:
        identity: the job.
        card: the device's card.
        commit: the commit that measures and its uncommitted changes, or None outside a repository.
        artifact: the meta.json of the artifact, with its sha256.
        runner: the beginning of the runner's sha256.
        order: the job's place in the order of the session.
        measured_at: ISO 8601 in UTC.
        processes: the number of processes that the session plans for this kind of job, if it is known.
    """

    identity: RecordIdentity
    card: Mapping[str, Any]
    commit: Mapping[str, Any] | None
    artifact: Mapping[str, Any]
    runner: str
    order: int
    measured_at: str
    processes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the keys of record.json."""
        return {
            **asdict(self.identity),
            "card": self.card,
            "commit": self.commit,
            "artifact": self.artifact,
            "runner": self.runner,
            "order": self.order,
            "measured_at": self.measured_at,
            **({} if self.processes is None else {"processes": self.processes}),
        }


@dataclass(frozen=True)
class LoadGenRun:
    """The part of an outcome that only a run under LoadGen has.

    Attributes:
        job: the content of job.json.
        figures: the conditions during the run, `unknown` the names of those that the device could not measure.
        harness_p50_ns: the median latency of the harness alone, if it was measured before.
        limits: the limits by which the run was judged.
    """

    job: Mapping[str, Any]
    figures: Mapping[str, float] = field(default_factory=dict)
    unknown: Sequence[str] = ()
    harness_p50_ns: float | None = None
    limits: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class JobOutcome:
    """The part of a record that the measurement decides.

    Attributes:
        disturbed: the state of the machine is the only reason of the verdict, or of a missing time of preprocessing.
        unreachable: the device could not be reached.
        run: for a run under LoadGen.
        result: the content of the runner's result.json.
        quality, interleaved, profile, placement, instructions, estimate: the result of a job of this kind.
        preprocessing: the timed preprocessing of raw inputs, in the record of a profile.
    """

    verdict: Verdict
    reasons: Sequence[str] = ()
    disturbed: bool = False
    unreachable: bool = False
    run: LoadGenRun | None = None
    result: Mapping[str, Any] | None = None
    quality: QualityResult | None = None
    interleaved: InterleavedResult | None = None
    profile: Mapping[str, Any] | None = None
    placement: Mapping[str, Any] | None = None
    instructions: Mapping[str, Any] | None = None
    estimate: Mapping[str, Any] | None = None
    preprocessing: PreprocessingResult | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the keys of record.json. Parts that are None are left out."""
        content: dict[str, Any] = {"verdict": self.verdict, "reasons": list(self.reasons)}
        if self.run is not None:
            run = {key: value for key, value in asdict(self.run).items() if key != "limits" or value is not None}
            content |= {**run, "disturbed": self.disturbed}
        elif self.disturbed:
            content["disturbed"] = True
        if self.unreachable:
            content["unreachable"] = True
        parts = {
            "result": self.result,
            "quality": None if self.quality is None else asdict(self.quality),
            INTERLEAVED: None if self.interleaved is None else asdict(self.interleaved),
            "profile": self.profile,
            "placement": self.placement,
            "instructions": self.instructions,
            "estimate": self.estimate,
            "preprocessing": None if self.preprocessing is None else asdict(self.preprocessing),
        }
        return content | {name: part for name, part in parts.items() if part is not None}
