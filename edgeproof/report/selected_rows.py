"""Build the rows that a selection needs from the store of records, and check the names in the selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeproof.config.params_file import PARAMS, read_params
from edgeproof.core.errors import ConfigError, EdgeproofError, suggest_nearest
from edgeproof.paths import RECORDS
from edgeproof.records import queries
from edgeproof.report import selections
from edgeproof.report.row import Row
from edgeproof.report.rows import build_rows
from edgeproof.report.selections import Selection


def select_rows(chosen: Selection, root: Path = RECORDS) -> list[Row]:
    """Return all rows of the devices of a selection from the store as it is.

    Rows that the selection does not show are included: the baseline and the marks need them.

    Raises EdgeproofError for a name in the selection without records.
    """
    order = order_names(queries.list_names(root))
    check_selection(chosen, order)
    baseline = chosen.baseline or choose_baseline(order["models"])
    wanted = {**order}
    if chosen.devices is not None:
        wanted["devices"] = [name for name in order["devices"] if name in chosen.devices]
    return build_rows(queries.read_last_sessions(root, order=wanted), baseline=baseline, order=wanted)


def order_names(names: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Sort names of each kind: first those of the study in its order, then the others by name."""
    try:
        report = read_params(PARAMS).report
        known = {"devices": report.devices, "models": report.models, "runtimes": report.runtimes}
    except ConfigError:
        known = {}
    return {kind: _order(names_of_kind, known.get(kind, [])) for kind, names_of_kind in names.items()}


def choose_baseline(models: Sequence[str]) -> str:
    """Return the study's baseline if it has records, else the first model, else ''."""
    try:
        baseline = read_params(PARAMS).report.baseline
    except ConfigError:
        baseline = ""
    return baseline if baseline in models else next(iter(models), "")


def check_selection(chosen: Selection, measured: Mapping[str, Sequence[str]]) -> None:
    """Raise EdgeproofError for a name in the selection that is not among the measured ones."""
    for part in selections.PARTS:
        known = measured[f"{part}s"]
        for name in getattr(chosen, f"{part}s") or []:
            if known and name not in known:
                raise EdgeproofError(
                    f"there are no records of {part} '{name}'.{suggest_nearest(name, known)} "
                    f"Measured: {', '.join(known)}."
                )


def list_measured(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the names in rows by kind ('devices', 'models', …), in their order."""
    return {f"{part}s": list(dict.fromkeys(getattr(row, part) for row in rows)) for part in selections.PARTS}


def _order(names: Sequence[str], known: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))
