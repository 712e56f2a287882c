"""Durations of stages: how long each one took when it last ran here, and how long it may take now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from edgeproof.core.directories import write_json
from edgeproof.paths import WORK

DURATIONS = WORK / "durations.json"
# For a stage that has not run here yet.
DEFAULTS_S = {
    "prepare": 10,
    "train": 120,
    "distill": 90,
    "prune": 60,
    "quantize": 30,
    "export": 12,
    "bench": 60,
    "report": 5,
}
# For a stage that a user has added to dvc.yaml.
OTHER_S = 60


def read_durations(path: Path = DURATIONS) -> dict[str, float]:
    """Return the seconds that each stage took when it last ran here. Return {} if nothing readable was recorded."""
    try:
        durations_s: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return durations_s


def write_durations(durations_s: Mapping[str, float], path: Path = DURATIONS) -> None:
    """Record the seconds of each stage."""
    write_json(path, dict(durations_s))


def estimate_s(durations_s: Mapping[str, float], stage: str) -> float:
    """Return the seconds that a stage may take: its last duration, the median of its kind, or a default for its kind.

    A stage's kind is the part of its name before '@'. Stages of one kind have the same order of magnitude in one
    project, which a default for all projects does not know.
    """
    if stage in durations_s:
        return durations_s[stage]
    kind = stage.partition("@")[0]
    same_kind = [duration_s for other, duration_s in durations_s.items() if other.partition("@")[0] == kind]
    return median(same_kind) if same_kind else DEFAULTS_S.get(kind, OTHER_S)


def format_duration(duration_s: float) -> str:
    """Return a duration as minutes and seconds, such as 1:05, or with hours, such as 2:00:09."""
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
