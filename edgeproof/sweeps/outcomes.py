"""Outcomes of a sweep's points: results, failures, and the journal of stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgeproof.study.pipeline import StageRun
from edgeproof.sweeps.points import CodeVersion

PointStatus = Literal["finished", "failed", "stopped", "waiting"]


@dataclass(frozen=True)
class JournalEntry:
    """One stage of one point: its DVC name, the digest of all that decides its outputs, how it ended, its duration."""

    point: str
    stage: str
    key: str
    outcome: str
    duration_s: float

    @classmethod
    def from_stage_run(cls, point: str, run: StageRun) -> JournalEntry:
        """Make the entry for a stage that a point has just run."""
        return cls(point, run.stage, run.key, run.outcome, run.seconds)

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return {
            "point": self.point,
            "stage": self.stage,
            "key": self.key,
            "outcome": self.outcome,
            "seconds": self.duration_s,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> JournalEntry:
        """Read what `to_json` returned."""
        return cls(content["point"], content["stage"], content["key"], content["outcome"], content["seconds"])


@dataclass(frozen=True)
class ModelSummary:
    """A model that a point built: the hash of its content and its quality on the validation split."""

    sha256: str
    validation_quality: float

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return {"sha256": self.sha256, "validation_quality": self.validation_quality}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ModelSummary:
        """Read what `to_json` returned, here or in an earlier version, which called the quality accuracy."""
        key = "validation_quality" if "validation_quality" in content else "validation_accuracy"
        return cls(content["sha256"], content[key])


@dataclass(frozen=True)
class PointOutcome:
    """A finished point, as its point.json describes it.

    Attributes:
        models: the models it built by name.
        stages: journal entries of all its attempts.
        experiment: the name of the DVC experiment that holds it.
    """

    overrides: tuple[str, ...]
    code: CodeVersion
    models: Mapping[str, ModelSummary]
    stages: Sequence[JournalEntry]
    experiment: str

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return {
            "overrides": list(self.overrides),
            "code": self.code.to_json(),
            "models": {name: model.to_json() for name, model in self.models.items()},
            "stages": [entry.to_json() for entry in self.stages],
            "experiment": self.experiment,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PointOutcome:
        """Read what `to_json` returned."""
        return cls(
            overrides=tuple(content["overrides"]),
            code=CodeVersion.from_json(content["code"]),
            models={name: ModelSummary.from_json(model) for name, model in content["models"].items()},
            stages=[JournalEntry.from_json(entry) for entry in content["stages"]],
            experiment=content["experiment"],
        )


@dataclass(frozen=True)
class PointFailure:
    """A point without a result.

    Attributes:
        reason: why it has none.
        excess: for a point that was stopped early, the share of the limit by which its model missed it. None for a
            point that failed.
        limit: the limit that it missed, if it was stopped.
    """

    reason: str
    excess: float | None = None
    limit: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        content: dict[str, Any] = {"reason": self.reason, "excess": self.excess}
        return content if self.limit is None else {**content, "limit": self.limit}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PointFailure:
        """Read what `to_json` returned."""
        return cls(content["reason"], content["excess"], content.get("limit"))
