"""The cells that a run was asked to measure, read from its stored parameters."""

from __future__ import annotations

import functools
from pathlib import Path

from edgeproof.config import params_file
from edgeproof.core.errors import EdgeproofError
from edgeproof.farm import engines
from edgeproof.farm.history import HistoryCell


def read_expected_cells(run: str) -> frozenset[HistoryCell] | None:
    """Return the cells that a run was asked to measure, or None if its parameters are missing or unreadable."""
    path = (engines.FARM / run / engines.PARAMS).resolve()
    return _load_expected_cells(path) if path.is_file() else None


def was_requested(run: str, cell: HistoryCell) -> bool:
    """Return whether a run was asked to measure a cell. Without the run's parameters, assume that it was."""
    expected = read_expected_cells(run)
    return expected is None or cell in expected


@functools.cache
def _load_expected_cells(path: Path) -> frozenset[HistoryCell] | None:
    try:
        study = params_file.read_params(path)
    except EdgeproofError:
        return None
    return frozenset(
        HistoryCell(study.study, item.device, item.runtime, model, scheme, scenario)
        for item in study.bench.values()
        for model, schemes in item.artifacts.items()
        for scheme in schemes
        for scenario in (item.all if scheme in item.final.get(model, []) else item.every)
    )
