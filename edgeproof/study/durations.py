"""Durations of stages: how long each one took when it last ran here, and how long it may take now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

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
    """Return the seconds that a stage may take: its last duration, or a default for its kind."""
    return durations_s.get(stage, DEFAULTS_S.get(stage.partition("@")[0], OTHER_S))


def format_duration(seconds: float) -> str:
    """Return seconds as minutes and seconds, such as 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
