"""Choose the smallest measured artifact that meets the target, or say which one is nearest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeproof.statistics.metric import Metric
from edgeproof.sweeps.pareto_front import compute_excess, is_within_limits
from edgeproof.sweeps.results import QUALITY, ResultRow


def find_winner(rows: Sequence[ResultRow], limits: Mapping[str, float], target: float) -> ResultRow | None:
    """Return the row with the smallest file that is within the limits and meets the target, or None.

    Of files of one size, the one of better quality wins, then the earlier one.
    """
    good = [row for row in rows if is_within_limits(row, limits) and _meets(row, target)]
    return min(good, key=_sort_key, default=None)


def _meets(row: ResultRow, target: float) -> bool:
    quality = row.get_figure(QUALITY)
    return quality is not None and row.metric is not None and row.metric.meets(quality, target)


def _sort_key(row: ResultRow) -> tuple[float, float]:
    size, quality = row.get_figure("size_bytes"), row.get_figure(QUALITY)
    assert size is not None
    assert quality is not None
    assert row.metric is not None
    return size, compute_cost(quality, row.metric)


def compute_cost(quality: float, metric: Metric) -> float:
    """Return a quality as a cost, of which less is better."""
    return -quality if metric.better == "more" else quality


def describe(row: ResultRow, metric: Metric, target: float) -> str:
    """Return one sentence about the winner."""
    table_row = row.table_row
    assert table_row is not None
    assert table_row.quality is not None
    return (
        f"Smallest that meets {metric.format(target)}: {table_row.model} {table_row.scheme} with "
        f"{metric.format(table_row.quality.value)}, {table_row.size_bytes:,} bytes, point {row.point.digest[:8]}."
    )


def explain_miss(rows: Sequence[ResultRow], limits: Mapping[str, float], target: float, metric: Metric) -> str:
    """Return why no row wins: the best quality within the limits, or the row that is nearest to them."""
    advice = "Train longer (--epochs), try more candidates (--trials), or change the budget or the target."
    measured = [row for row in rows if row.get_figure(QUALITY) is not None]
    within = [row for row in measured if is_within_limits(row, limits)]
    if within:
        best = min(within, key=lambda row: _sort_key(row)[1])
        return (
            f"No measured point reaches {metric.format(target)}. The best one within the budget reaches "
            f"{metric.format(best.get_figure(QUALITY) or 0.0)} (point {best.point.digest[:8]}). {advice}"
        )
    if not measured:
        return f"No point was measured; the table names the reasons. {advice}"
    nearest = min(measured, key=lambda row: max(compute_excess(row, name, limit) for name, limit in limits.items()))
    excesses = {name: compute_excess(nearest, name, limit) for name, limit in limits.items()}
    missed = ", ".join(f"{name} by {share:.0%}" for name, share in excesses.items() if share > 0)
    name = nearest.point.digest[:8]
    return f"No measured point is within the budget. The nearest one, {name}, exceeds {missed}. {advice}"
