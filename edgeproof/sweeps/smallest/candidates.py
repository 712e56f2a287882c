"""Candidates of a search: their proxies, their qualities in each rung, and the table of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna

from edgeproof.core.directories import write_text
from edgeproof.core.errors import ConfigError
from edgeproof.records.csv_text import format_csv
from edgeproof.sweeps.smallest.choices import Choice
from edgeproof.sweeps.smallest.constraints import Budget, describe_limits
from edgeproof.sweeps.smallest.proxies import Proxies

COLUMNS = ("number", "candidate", "parameters", "macs", "predicted_size_bytes", "validation_quality_by_rung", "outcome")


@dataclass
class Candidate:
    """One examined choice.

    Attributes:
        trial: Optuna's trial that chose it.
        refusal: why it is not trained; empty if it is.
        qualities: quality on the validation split after each rung, None where its training failed.
    """

    choice: Choice
    trial: optuna.Trial
    proxies: Proxies
    refusal: str = ""
    qualities: list[float | None] = field(default_factory=list)
    outcome: str = ""


def describe_refusal(proxies: Proxies, budget: Budget) -> str:
    """Return why a candidate is not trained, or an empty text."""
    if proxies.reason:
        return proxies.reason
    excesses = proxies.compute_excesses(budget.proxies)
    return ", ".join(f"{name} {getattr(proxies, name):,} is {share:.0%} over" for name, share in excesses.items())


def refuse_empty_budget(candidates: Sequence[Candidate], budget: Budget) -> None:
    """Raise ConfigError that names the nearest candidate if none is within the budget."""
    if any(not candidate.refusal for candidate in candidates):
        return
    examined = [candidate for candidate in candidates if not candidate.proxies.reason]
    limits = describe_limits(budget.proxies)
    if not examined:
        reasons = sorted({candidate.refusal for candidate in candidates})
        raise ConfigError(f"no candidate can be built for this task: {'; '.join(reasons[:3])}")
    nearest = min(examined, key=lambda candidate: max(candidate.proxies.compute_excesses(budget.proxies).values()))
    raise ConfigError(
        f"none of {len(candidates)} candidates is within the budget ({limits}). The nearest one: "
        f"{nearest.choice.describe()}, where {nearest.refusal}. Raise the limit, or add smaller values to 'search' in "
        f"conf/networks/{nearest.choice.network}.yaml."
    )


def refuse_failed_trainings(candidates: Sequence[Candidate], path: Path) -> None:
    """Raise ConfigError with the reasons, and the path of their table, if all trainings so far failed."""
    trained = [candidate for candidate in candidates if candidate.qualities]
    if not trained or any(candidate.qualities[-1] is not None for candidate in trained):
        return
    reasons = sorted({candidate.outcome for candidate in trained})
    raise ConfigError(f"no training succeeded: {'; '.join(reasons[:3])}. All candidates: {path}")


def write_candidates(candidates: Sequence[Candidate], path: Path) -> None:
    """Write a CSV file with one line for each candidate."""
    lines = []
    for number, candidate in enumerate(candidates):
        proxies = candidate.proxies
        qualities = ["failed" if quality is None else f"{quality:.6g}" for quality in candidate.qualities]
        outcome = f"refused: {candidate.refusal}" if candidate.refusal else candidate.outcome
        size = "" if proxies.size_bytes is None else proxies.size_bytes
        line = [
            number,
            candidate.choice.describe(),
            proxies.parameters,
            proxies.macs,
            size,
            " ".join(qualities),
            outcome,
        ]
        lines.append(line)
    write_text(path, format_csv(list(COLUMNS), lines))
