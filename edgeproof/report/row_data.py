"""Rows as data for other programs: the content of table.csv and table.json."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgeproof.records.csv_text import format_csv
from edgeproof.report.row import Row
from edgeproof.statistics.estimates import Estimate

# The schema of table.json. Schema 1 has accuracies and no metric.
SCHEMA = 2


def format_rows_as_csv(rows: Sequence[Row]) -> str:
    """Return one CSV line for each row, with units in the column names.

    An estimate has three columns: name, name_low, name_high. `conditions` is nested, so only table.json has it.
    """
    lines = [flatten_row(row) for row in rows]
    names = list(dict.fromkeys(name for line in lines for name in line))
    return format_csv(names, ([line.get(name) for name in names] for line in lines), quote_text=True)


def describe_rows(rows: Sequence[Row], *, study: str) -> dict[str, Any]:
    """Return the content of table.json: every field of every row, a missing figure as None."""
    return {"schema": SCHEMA, "study": study, "rows": [_replace_nan(row.as_dict()) for row in rows]}


def flatten_estimate(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """Return an estimate as the columns name, name_low and name_high, each None where it is not known."""
    parts = (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)
    value, low, high = (None if part is None or math.isnan(part) else part for part in parts)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def flatten_row(row: Row) -> dict[str, Any]:
    """Return the columns of table.csv that a row has, by name."""
    columns: dict[str, Any] = {}
    for name, value in vars(row).items():
        if _is_estimate(name):
            columns |= flatten_estimate(name, value)
        elif name in ("reference", "in_turns_against"):
            columns[name] = None if value is None else " ".join(value)
        elif name in ("reasons", "notes"):
            columns[name] = "; ".join(value)
        elif name == "metric":
            columns |= (
                {"metric_unit": None, "metric_better": None}
                if value is None
                else {
                    "metric_unit": value.unit,
                    "metric_better": value.better,
                }
            )
        elif name == "placement":
            columns |= {
                "operators": None if value is None else value.operators,
                "operators_placed": None if value is None else value.expected,
                "fallbacks": "" if value is None else "; ".join(fallback.describe() for fallback in value.fallbacks),
            }
        elif name == "budget":
            columns |= {
                name: None if value is None else value.outcome,
                f"{name}_reasons": "" if value is None else "; ".join(value.reasons),
            }
        elif name == "estimate":  # its columns begin with 'estimated_', so nobody takes them for measured figures
            estimated = dict(value or {"tool": None})
            columns |= {name: estimated.pop("tool"), **{f"estimated_{key}": part for key, part in estimated.items()}}
        elif name == "federated":  # only its numbers: curves and lists do not fit a column
            numbers = {key: part for key, part in (value or {}).items() if isinstance(part, int | float)}
            columns |= {f"federated_{key}": part for key, part in numbers.items()}
        elif name == "emulated":  # in columns of its own, as an estimate
            columns |= {f"emulated_{key}": duration_ns for key, duration_ns in (value or {}).items()}
        elif name == "versions":
            columns[name] = "; ".join(f"{package} {version}" for package, version in (value or {}).items())
        elif name != "conditions":
            columns[name] = value
    return columns


def _is_estimate(name: str) -> bool:
    return "Estimate" in str(Row.__annotations__[name])


def _replace_nan(value: Any) -> Any:
    """Return plain data with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _replace_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
