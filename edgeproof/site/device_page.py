"""Values of a device's page: artifacts, health, history, fingerprint."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from edgeproof.records.conditions import list_differences
from edgeproof.report.row import Row
from edgeproof.site.fact_text import format_facts
from edgeproof.site.facts import Facts
from edgeproof.site.headlines import describe_headlines
from edgeproof.site.linked_tables import render_table, split_estimated

FIGURE_NAMES = ["quality", "size", "p50", "p99", "speed_up", "verdict"]
EMULATED_FIGURE_NAMES = ["quality", "size", "arena", "peak", "instructions", "emulated_p50", "verdict"]


def describe_device(facts: Facts, device: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the values of the template device.html; `rows` are the device's."""
    history = facts.fingerprints.get(device, [])
    measured, estimated = split_estimated(rows)
    is_emulated = any(row.emulated is not None for row in measured)
    columns = EMULATED_FIGURE_NAMES if is_emulated else FIGURE_NAMES
    table = render_table(
        measured,
        facts,
        f"Measured on {facts.get_device_title(device)}",
        "rows-",
        "../",
        rows=["model", "runtime", "scheme"],
        columns=columns,
    )
    return {
        "title": facts.get_device_title(device),
        "device": device,
        "fingerprint": format_facts(history[-1].facts) if history else {},
        "since": history[-1].night if history else "",
        "changes": [
            (later.night, list_differences(earlier.facts, later.facts))
            for earlier, later in itertools.pairwise(history)
        ],
        "health": facts.health.get(device, []),
        "cpu": next((row.cpu for row in measured if row.cpu), None),
        "headlines": describe_headlines(device, measured).headlines,
        "table": table,
        "count": len(measured),
        "estimated": estimated,
    }
