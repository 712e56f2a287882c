"""Select the runs of one artifact that count: the last attempt of each, and the valid ones of a scenario."""

from __future__ import annotations

from collections.abc import Sequence

from edgeproof.records import kinds
from edgeproof.records.columns import StoreLine

# From the best verdict to the worst.
VERDICTS = ("valid", "unsupported", "invalid", "error")


def select_last_attempts(attempts: Sequence[StoreLine]) -> list[StoreLine]:
    """Return the last attempt of every run. A disturbed run was repeated in the same session."""
    last: dict[tuple[str, int], StoreLine] = {}
    for attempt in attempts:
        key = attempt.scenario, attempt.process
        if key not in last or attempt.attempt > last[key].attempt:
            last[key] = attempt
    return list(last.values())


def select_valid(runs: Sequence[StoreLine], scenario: str) -> list[StoreLine]:
    """Return the performance runs of LoadGen's scenario, or none if any of them is not valid.

    A failed run is never left out of a mean: the figure is None instead.
    """
    performance = [run for run in runs if run.scenario != kinds.ACCURACY and not run.compliance]
    # A run that failed before its job was written has no LoadGen scenario, but the scenario name of the other runs.
    names = {run.scenario for run in performance if run.loadgen_scenario == scenario}
    selected = [run for run in performance if run.scenario in names]
    return selected if all(run.verdict == "valid" for run in selected) else []


def has_other_seed(run: StoreLine) -> bool:
    """Return whether the run measures the model of another training seed than the first; only accuracy runs do."""
    return run.scenario == kinds.ACCURACY and run.process > 0


def combine_verdicts(runs: Sequence[StoreLine]) -> tuple[str, tuple[str, ...]]:
    """Return the worst verdict of the runs, and the reasons of all that are not valid, each once."""
    worst = max((run.verdict for run in runs), key=VERDICTS.index)
    reasons = []
    for run in runs:
        prefix = "" if run.verdict == "unsupported" else f"{run.scenario} {run.process}: "
        reasons += [f"{prefix}{reason}" for reason in run.reasons]
    return worst, tuple(dict.fromkeys(reasons))
