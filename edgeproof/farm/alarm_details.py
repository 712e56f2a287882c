"""Details of alarms: the figures behind an alarm's message. Each kind of alarm has one of these types."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgeproof.statistics.comparison import Comparison
from edgeproof.statistics.estimates import Estimate


@dataclass(frozen=True)
class MissingDetails:
    """Details of a missing cell: the run that measured it last."""

    last: str

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return {"last": self.last}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> MissingDetails:
        """Read what `to_json` returned."""
        return cls(content["last"])


@dataclass(frozen=True)
class FingerprintDetails:
    """Details of a changed device.

    Attributes:
        changes: all changed conditions.
        moved: for each cell whose conditions changed, tonight's duration divided by that of the night before.
    """

    changes: Sequence[str]
    moved: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return {"changes": list(self.changes), "moved": dict(self.moved)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> FingerprintDetails:
        """Read what `to_json` returned."""
        return cls(content["changes"], content["moved"])


@dataclass(frozen=True)
class ArtifactNight:
    """A night and the sha256 of the artifact that was measured on it."""

    run: str
    artifact: str

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return {"run": self.run, "artifact": self.artifact}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ArtifactNight:
        """Read what `to_json` returned."""
        return cls(content["run"], content["artifact"])


@dataclass(frozen=True)
class SlowdownDetails:
    """Details of a cell that got slower.

    Attributes:
        ratio: the new level's duration divided by that of the old level.
        since: the first night of the new level.
        good: the last night of the old level.
        suspect: the night on which the slowdown was detected.
        changes: what else changed between these two nights.
        comparison: result of the A/B test, if it ran.
    """

    ratio: float
    since: str
    good: ArtifactNight
    suspect: ArtifactNight
    changes: Sequence[str]
    comparison: Comparison | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        content = {
            "ratio": self.ratio,
            "since": self.since,
            "good": self.good.to_json(),
            "suspect": self.suspect.to_json(),
            "changed": list(self.changes),
        }
        if self.comparison is not None:
            content["comparison"] = _replace_non_finite(asdict(self.comparison))
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SlowdownDetails:
        """Read what `to_json` returned."""
        comparison = content.get("comparison")
        return cls(
            ratio=content["ratio"],
            since=content["since"],
            good=ArtifactNight.from_json(content["good"]),
            suspect=ArtifactNight.from_json(content["suspect"]),
            changes=content["changed"],
            comparison=None if comparison is None else _read_comparison(comparison),
        )


@dataclass(frozen=True)
class DeploymentDetails:
    """Details of a deployed version with a problem.

    Attributes:
        expected: sha256 of the manifest of the version that should run, or None if that is unknown.
        actual: the one that the device reports, or None if it reports none.
        problems: everything that is wrong.
    """

    expected: str | None
    actual: str | None
    problems: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return {"expected": self.expected, "actual": self.actual, "problems": list(self.problems)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> DeploymentDetails:
        """Read what `to_json` returned."""
        return cls(content["expected"], content["actual"], content["problems"])


AlarmDetails = MissingDetails | FingerprintDetails | SlowdownDetails | DeploymentDetails


def _read_comparison(content: Mapping[str, Any]) -> Comparison:
    values: dict[str, Any] = {name: math.nan if value is None else value for name, value in content.items()}
    ratio = {name: math.nan if value is None else value for name, value in content["ratio"].items()}
    values["ratio"], values["processes"] = Estimate(**ratio), tuple(content["processes"])
    return Comparison(**values)


def _replace_non_finite(value: Any) -> Any:
    """Replace infinity and NaN by None, since JSON has neither."""
    if isinstance(value, dict):
        return {key: _replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None
