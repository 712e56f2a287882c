"""Whether an artifact keeps to what its device's card allows: a gate beside the verdict, which is about the run.

A figure keeps to its limit when the whole of its 95% interval does. Latency is the 90th percentile of one stream, as
MLPerf has it. What was not measured keeps to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edgeproof.report.rows import Row

Outcome = Literal["within", "exceeded", "unknown"]


@dataclass(frozen=True)
class Gate:
    """The outcome, and one line for each limit that is exceeded, or of which nothing is known."""

    outcome: Outcome
    reasons: tuple[str, ...] = ()


def gate(row: Row, budget: Mapping[str, float | None] | None) -> Gate | None:
    """Hold a row's figures against a card's budget; None where the card has none."""
    limits = {name: limit for name, limit in (budget or {}).items() if limit is not None}
    if not limits or row.verdict == "unsupported":
        return None
    upper = _upper_figures(row)
    over = [
        f"{_name(name)} is up to {value:.4g} {_unit(name)} (limit {limit:g})"
        for name, limit in limits.items()
        if (value := upper[name]) is not None and value > limit
    ]
    unknown = [f"{_name(name)} was not measured" for name in limits if upper[name] is None]
    outcome: Outcome = "exceeded" if over else "unknown" if unknown else "within"
    return Gate(outcome, tuple(over + unknown))


def _upper_figures(row: Row) -> dict[str, float | None]:
    """Each limited figure's upper end, in the budget's own unit; a MB is a million bytes."""

    def upper(name: str) -> float | None:
        estimate = getattr(row, name)
        if estimate is None:
            return None
        return float(estimate.high if estimate.high == estimate.high else estimate.value)  # nan where there is none

    latency_ns, energy_uj = upper("p90_ns"), upper("energy_uj")
    return {
        "size_mb": None if row.size_bytes is None else row.size_bytes / 1e6,
        "latency_ms": None if latency_ns is None else latency_ns / 1e6,
        "memory_mb": None if row.peak_rss_bytes is None else row.peak_rss_bytes / 1e6,
        "energy_mj": None if energy_uj is None else energy_uj / 1e3,
    }


def _name(limit: str) -> str:
    return limit.rpartition("_")[0]


def _unit(limit: str) -> str:
    return {"mb": "MB", "ms": "ms", "mj": "mJ"}[limit.rpartition("_")[2]]
