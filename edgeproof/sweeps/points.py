"""The points of a sweep: their overrides, digests and labels, and the request that lists them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeproof.config.file_names import FileName
from edgeproof.config.params import Params

DIGEST_CHARACTERS = 16
# The figures that a sweep reports unless it names others.
DEFAULT_OBJECTIVES = ("quality", "p50_us", "size_bytes")
# The limit that is checked before anything is exported or measured.
VALIDATION_LIMIT = "validation_quality"
# Names of figures and limits in earlier versions, in which every task was judged by its accuracy.
FORMER_NAMES = {"accuracy": "quality", "validation_accuracy": VALIDATION_LIMIT}


@dataclass(frozen=True)
class CodeVersion:
    """The code that a sweep's points run.

    Attributes:
        sha256: hash of all files that decide a point's outcome.
        commit: the git commit that was checked out.
        changed_files: files that differed from that commit.
    """

    sha256: str
    commit: str
    changed_files: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return {"sha256": self.sha256, "head": self.commit, "changed": list(self.changed_files)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> CodeVersion:
        """Read what `to_json` returned."""
        return cls(content["sha256"], content["head"], tuple(content["changed"]))


@dataclass(frozen=True)
class ComposedPoint:
    """A point before it is stored: Hydra's overrides, and the study's parameters that they give."""

    overrides: tuple[str, ...]
    params: Params


@dataclass(frozen=True)
class SweepPoint:
    """A stored point: Hydra's overrides, and the digest of its parameters and of the code."""

    overrides: tuple[str, ...]
    digest: FileName


@dataclass(frozen=True)
class SweepRequest:
    """The request for a sweep.

    Attributes:
        points: the points in the order in which they were given. Several may have the same digest.
        code: the code that they run.
        objectives: names of the figures that the Pareto front compares.
        limits: the worst acceptable value of each limited figure.
        hidden_keys: keys that tables and labels leave out, because other keys imply their values.
    """

    points: tuple[SweepPoint, ...]
    code: CodeVersion
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    limits: Mapping[str, float] = field(default_factory=dict)
    hidden_keys: tuple[str, ...] = ()

    @property
    def digests(self) -> list[str]:
        """Each distinct digest once, in the order of the points."""
        return list(dict.fromkeys(point.digest for point in self.points))

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is stored."""
        return {
            "points": [{"overrides": list(point.overrides), "digest": point.digest} for point in self.points],
            "code": self.code.to_json(),
            "objectives": list(self.objectives),
            "limits": dict(self.limits),
            **({"hidden_keys": list(self.hidden_keys)} if self.hidden_keys else {}),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SweepRequest:
        """Read what `to_json` returned, here or in an earlier version."""
        return cls(
            points=tuple(SweepPoint(tuple(point["overrides"]), point["digest"]) for point in content["points"]),
            code=CodeVersion.from_json(content["code"]),
            objectives=tuple(FORMER_NAMES.get(name, name) for name in content["objectives"]),
            limits={FORMER_NAMES.get(name, name): limit for name, limit in content["limits"].items()},
            hidden_keys=tuple(content.get("hidden_keys", ())),
        )


def compute_digest(params_yaml: str, code: CodeVersion) -> str:
    """Return the digest that names a point. Equal parameters and equal code give the same digest."""
    return hashlib.sha256(f"{code.sha256}\n{params_yaml}".encode()).hexdigest()[:DIGEST_CHARACTERS]


def parse_overrides(point: SweepPoint) -> dict[str, str]:
    """Return the keys and values that a point's overrides set, without Hydra's prefix `+`. Deletions (`~`) set none."""
    pairs = (override.partition("=") for override in point.overrides if not override.startswith("~"))
    return {key.lstrip("+"): value for key, _, value in pairs}


def find_axes(request: SweepRequest) -> list[str]:
    """Return the keys that differ between points, in the order in which they were given, without hidden ones."""
    all_values = [parse_overrides(point) for point in request.points]
    keys = dict.fromkeys(key for values in all_values for key in values if key not in request.hidden_keys)
    return [key for key in keys if len({values.get(key) for values in all_values}) > 1]


def format_label(point: SweepPoint, axes: Sequence[str]) -> str:
    """Return a point's short name: its values on the axes, with the last part of each key."""
    values = parse_overrides(point)
    return " ".join(f"{key.rpartition('.')[2]}={values[key]}" for key in axes if values.get(key)) or "the only point"
