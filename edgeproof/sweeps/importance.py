"""Importance of a sweep's keys: the share of a figure's variance that each key explains."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from edgeproof.sweeps.results import ResultRow


def compute_importance(rows: Sequence[ResultRow], values: Sequence[Mapping[str, str]], figure: str) -> dict[str, float]:
    """Return the share of a figure's variance that each key explains alone.

    The share is the correlation ratio η² (Pearson 1905), which is the key's main effect in an analysis of variance. On
    a full grid the shares add up to at most 1, and interactions make up the rest. A key with one value has no share.

    Args:
        values: each row's value for each key.
        figure: name of the figure. Rows without it are ignored.
    """
    observations = [
        (row_values, value)
        for row, row_values in zip(rows, values, strict=True)
        if (value := row.get_figure(figure)) is not None
    ]
    all_values = [value for _, value in observations]
    mean = math.fsum(all_values) / len(all_values) if all_values else 0.0
    total = math.fsum((value - mean) ** 2 for value in all_values)
    if total == 0:
        return {}
    shares = {}
    for key in dict.fromkeys(key for row_values, _ in observations for key in row_values):
        groups: dict[str | None, list[float]] = defaultdict(list)
        for row_values, value in observations:
            groups[row_values.get(key)].append(value)
        if len(groups) < 2:
            continue
        between = math.fsum(len(group) * (math.fsum(group) / len(group) - mean) ** 2 for group in groups.values())
        shares[key] = between / total
    return shares
