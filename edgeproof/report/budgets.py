"""Check an artifact's figures against the limits on its device's card.

The check stands beside the verdict, which judges the run. A figure is within its limit if its whole 95% interval is.
Latency is the 90th percentile of a single stream, as in MLPerf. A figure that was not measured never passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgeproof.report.row import BudgetGate, BudgetOutcome, Row

MIN_PLACEMENT = "min_placement"
_UNITS = {"mb": "MB", "kib": "KiB", "ms": "ms", "mj": "mJ"}


def check_budget(row: Row, budget: Mapping[str, float | None] | None) -> BudgetGate | None:
    """Return how a row's figures compare with a card's budget, or None if there is nothing to compare.

    Args:
        row: the artifact's figures.
        budget: limits by name: size_mb, latency_ms, memory_mb, flash_kib, ram_kib, energy_mj, and min_placement, a
            share; None for no limit. 1 MB is a million bytes, 1 KiB is 1024 bytes.
    """
    limits = {name: limit for name, limit in (budget or {}).items() if limit is not None}
    if not limits or row.verdict == "unsupported":
        return None
    min_placement = limits.pop(MIN_PLACEMENT, None)
    upper = _get_upper_ends(row)
    exceeded = [
        f"{_get_heading(name)} is up to {value:.4g} {_get_unit(name)} (limit {limit:g})"
        for name, limit in limits.items()
        if (value := upper[name]) is not None and value > limit
    ]
    unknown = [f"{_get_heading(name)} was not measured" for name in limits if upper[name] is None]
    if min_placement is not None and row.placement is None:
        unknown.append("placement is not known")
    elif min_placement is not None and row.placement is not None and row.placement.share < min_placement:
        exceeded.append(f"placement is {row.placement} operators, {row.placement.share:.4g} (limit {min_placement:g})")
    outcome: BudgetOutcome = "exceeded" if exceeded else "unknown" if unknown else "within"
    return BudgetGate(outcome, tuple(exceeded + unknown))


def _get_upper_ends(row: Row) -> dict[str, float | None]:
    """Return the upper end of each limited figure's interval, in the budget's unit."""

    def upper(name: str) -> float | None:
        estimate = getattr(row, name)
        if estimate is None:
            return None
        return float(estimate.value if math.isnan(estimate.high) else estimate.high)

    latency_ns, energy_uj = upper("p90_ns"), upper("energy_uj")
    return {
        "size_mb": None if row.size_bytes is None else row.size_bytes / 1e6,
        "latency_ms": None if latency_ns is None else latency_ns / 1e6,
        "memory_mb": None if row.peak_rss_bytes is None else row.peak_rss_bytes / 1e6,
        "flash_kib": None if row.size_bytes is None else row.size_bytes / 1024,
        "ram_kib": None if row.arena_bytes is None else row.arena_bytes / 1024,
        "energy_mj": None if energy_uj is None else energy_uj / 1e3,
    }


def _get_heading(limit: str) -> str:
    return limit.rpartition("_")[0]


def _get_unit(limit: str) -> str:
    return _UNITS[limit.rpartition("_")[2]]
