"""The quality of one artifact, from its accuracy runs: one run for each training seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgeproof.records import kinds
from edgeproof.records.columns import StoreLine
from edgeproof.records.json_text import parse_json
from edgeproof.report.run_selection import has_other_seed
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import Metric


def describe_metric(runs: Sequence[StoreLine]) -> dict[str, Any]:
    """Return the fields of the metric, which the records of all seeds share."""
    run = next((run for run in runs if run.metric is not None and run.metric_json is not None), None)
    if run is None:
        return {}
    return {"metric_name": run.metric, "metric": Metric.from_json(parse_json(run.metric_json or "{}"))}


def get_seed_qualities(runs: Sequence[StoreLine]) -> dict[int, float] | None:
    """Return the quality of every seed's model, or None if any accuracy run is not valid."""
    accuracy_runs = [run for run in runs if run.scenario == kinds.ACCURACY]
    if not accuracy_runs or any(run.verdict != "valid" for run in accuracy_runs):
        return None
    return {run.seed: run.quality for run in accuracy_runs if run.quality is not None and run.seed is not None}


def find_quality_run(runs: Sequence[StoreLine]) -> StoreLine | None:
    """Return the valid accuracy run of the first seed's model, or None without one."""
    valid = (run for run in runs if run.scenario == kinds.ACCURACY and run.verdict == "valid")
    return next((run for run in valid if not has_other_seed(run)), None)


def get_quality(runs: Sequence[StoreLine]) -> Estimate | None:
    """Return the quality of the first seed's model with its interval, or None without a valid accuracy run."""
    run = find_quality_run(runs)
    if run is None or run.quality is None:
        return None
    low, high = (math.nan if end is None else end for end in (run.quality_low, run.quality_high))
    return Estimate(run.quality, low, high)
