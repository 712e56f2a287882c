"""Nights of a farm with a simulated board, and checks of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import directories
from edgeproof.farm import (
    artifact_cache,
    engines,
    regression_check,
)
from edgeproof.farm.ab_test import ABTestRunner, ABTestSetup
from edgeproof.farm.alarms import Alarm
from edgeproof.farm.history_reader import read_history
from tests.support import record_trees

OLD, NEW = "a" * 64, "b" * 64
CELL = "board/matrix/m/fp32 single_stream"


def write_night(
    number: int,
    us: float = 100.0,
    *,
    sha: str = OLD,
    cells: Sequence[str] = ("m",),
    processes: int = 2,
    verdict: str = "valid",
    result: dict[str, Any] | None = None,
    **changes: Any,
) -> str:
    """Write a night of the board whose cells all take `us` microseconds. Processes differ by a thousandth."""
    run = f"2026-01-{number:02d}"
    rng = np.random.default_rng(number)
    for model in cells:
        for process in range(processes):
            level = us * 1000 * math.exp(rng.normal(0, 0.001))
            record_trees.write(
                engines.HISTORY / run,
                device="board",
                runtime="matrix",
                model=model,
                process=process,
                verdict=verdict,
                reasons=() if verdict == "valid" else (f"refused {number}",),
                call_ns=rng.normal(level, level / 100, 70).astype(int) if verdict == "valid" else None,
                measured_at=f"{run}T01:00:00+00:00",
                session_id=f"session {run}",
                artifact={"sha256": sha},
                result={"versions": {"matrix": "1.0"}, **(result or {})},
                **changes,
            )
    return run


def write_nights(last: int, **changes: Any) -> str:
    """Write the nights from 1 to `last`, and return the last one."""
    for number in range(1, last + 1):
        write_night(number, **changes)
    return f"2026-01-{last:02d}"


def write_step(after: float = 1.06, sha: str = NEW) -> str:
    """Write a history whose last night is the one on which a step is detected, and return that night."""
    for number in range(1, 17):
        write_night(number)
    for number in range(17, 22):
        run = write_night(number, 100 * after, sha=sha)
        nights = read_history()
        (cell,) = nights.cells
        if nights.find_changes(cell, nights.split_segments(cell)[-1]).changes:
            return run
    raise AssertionError("no step is detected")


def fail_if_called(setup: ABTestSetup, out: Path) -> None:
    """Stand in for an A/B test that must not run."""
    raise AssertionError("no A/B test should run")


def check(run: str | None = None, runner: ABTestRunner = fail_if_called) -> list[Alarm]:
    """Check a night, by default the latest, and return its alarms."""
    return list(regression_check.check(run, ab_test_runner=runner).alarms)


def cache_artifact(content: str) -> str:
    """Put an artifact into the cache and return its sha256."""
    place = Path("built") / content
    place.mkdir(parents=True)
    (place / "model").write_text(content)
    directories.write_meta(place, {"scheme": "fp32"})
    artifact_cache.store_artifact(place, "fp32")
    return directories.content_sha256(directories.read_meta(place))
