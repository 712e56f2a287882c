"""Values of a night's page: alarms, changes, change points, refused runs."""

from __future__ import annotations

from typing import Any

from edgeproof.site.artifact_page import draw_nights
from edgeproof.site.facts import Facts

MAX_SHOWN_STEPS = 50


def describe_night(facts: Facts, night: str) -> dict[str, Any]:
    """Return the values of the template night.html."""
    index = facts.nights.index(night)
    changes = sorted(facts.changes.get(night, {}).items(), key=lambda change: -change[1].ratio.value)
    steps = [
        (key, step)
        for key, cell_steps in facts.steps.items()
        for step in cell_steps
        if facts.series[key][step.index].night == night
    ]
    steps.sort(key=lambda entry: -abs(entry[1].ratio - 1))
    return {
        "title": f"Night of {night}",
        "night": night,
        "before": facts.nights[index - 1] if index else None,
        "after": facts.nights[index + 1] if index + 1 < len(facts.nights) else None,
        "alarms": facts.alarms.get(night, []),
        "changes": changes,
        "compared": sum(any(point.night == night for point in points[1:]) for points in facts.series.values()),
        "steps": [(key, step, draw_nights(facts, key)) for key, step in steps[:MAX_SHOWN_STEPS]],
        "more_steps": max(0, len(steps) - MAX_SHOWN_STEPS),
        "refusals": facts.refusals.get(night, []),
        "health": [
            (device, health) for device, nights in facts.health.items() for health in nights if health.night == night
        ],
    }
