"""Result rows of a sweep: one for each artifact of a finished point, and one for each point without a result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from edgeproof.config.params_file import read_params
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.report.row import Row
from edgeproof.report.table_json import read_table_rows
from edgeproof.statistics.estimates import Estimate, estimate_mean
from edgeproof.statistics.metric import Metric
from edgeproof.sweeps.outcomes import PointStatus
from edgeproof.sweeps.points import SweepPoint
from edgeproof.sweeps.store import SweepStore, describe_damaged_point

QUALITY = "quality"
# Every figure that a sweep can report. Less is better in all but the quality, whose metric decides.
FIGURE_NAMES = (QUALITY, "p50_us", "p90_us", "size_bytes", "parameters", "macs", "peak_rss_bytes", "arena_bytes")
# Figures of latency → the fields of a row, in nanoseconds.
PERCENTILES = {"p50_us": "p50_ns", "p90_us": "p90_ns"}


@dataclass(frozen=True)
class ResultRow:
    """One artifact of a point, or a point without a result.

    Attributes:
        reason: why the point has no result, or why the artifact's runs were refused.
        table_row: the artifact's row of the point's results table.
        models: names and sha256 of the models that the point built.
        commit, changed_files: the code that ran, as in `CodeVersion`.
    """

    point: SweepPoint
    status: PointStatus
    reason: str = ""
    table_row: Row | None = None
    models: tuple[tuple[str, str], ...] = ()
    commit: str = ""
    changed_files: tuple[str, ...] = ()
    on_pareto_front: bool = False

    @property
    def metric(self) -> Metric | None:
        """The metric of its quality. None if it was not measured."""
        return None if self.table_row is None else self.table_row.metric

    @property
    def qualities(self) -> tuple[float, ...]:
        """Quality of the model for each training seed. Empty if it was not measured."""
        if self.table_row is None or self.table_row.quality is None:
            return ()
        return tuple((self.table_row.seed_qualities or {}).values()) or (self.table_row.quality.value,)

    def get_figure(self, name: str) -> float | None:
        """Return a figure, or None if it was not measured."""
        if self.table_row is None:
            return None
        if name == QUALITY:
            return fmean(self.qualities) if self.qualities else None
        if name in PERCENTILES:
            latency_ns: Estimate | None = getattr(self.table_row, PERCENTILES[name])
            return None if latency_ns is None else latency_ns.value / 1000
        value: float | None = getattr(self.table_row, name)
        return value

    def get_estimate(self, name: str) -> Estimate | None:
        """Return a figure with its 95% interval, or None if it was not measured. The interval of a count is empty.

        The interval is infinite where it is unknown, as for a single process.
        """
        value, row = self.get_figure(name), self.table_row
        if value is None or row is None:
            return None
        if name == QUALITY and row.seed_qualities and len(row.seed_qualities) > 1:
            mean = estimate_mean(self.qualities)
            assert mean is not None
            return mean
        estimate: Estimate | None = None
        if name == QUALITY:
            estimate = row.quality
        elif name in PERCENTILES:
            estimate = getattr(row, PERCENTILES[name]).scale(1e-3)
        if estimate is None:
            return Estimate(value, value, value)
        return Estimate(value, -math.inf, math.inf) if math.isnan(estimate.low) else estimate


def is_more_better(figure: str, metric: Metric | None) -> bool:
    """Return whether a higher value of a figure is better, where qualities are measured by `metric`."""
    return figure == QUALITY and (metric is None or metric.better == "more")


def read_rows(store: SweepStore) -> list[ResultRow]:
    """Return all rows of a sweep in the order of its points."""
    return [row for point in store.read_request().points for row in read_point_rows(store, point)]


def read_point_rows(store: SweepStore, point: SweepPoint) -> list[ResultRow]:
    """Return a point's rows: those of its final artifacts, or of all artifacts if the study names no final ones."""
    outcome = store.read_outcome(point.digest)
    if outcome is None:
        failure = store.read_failure(point.digest)
        return [ResultRow(point, store.read_status(point.digest), "not run yet" if failure is None else failure.reason)]
    directory = store.point_directory(point.digest)
    report = read_params(directory / "params.yaml").report
    rows = _read_table(directory)
    final = [row for row in rows if row.scheme in report.final.get(row.model, [])]
    final = final or [row for row in rows if row.model != report.baseline] or rows
    models = tuple((name, model.sha256) for name, model in outcome.models.items())
    code = outcome.code
    return [
        ResultRow(point, "finished", "; ".join(row.reasons), row, models, code.commit, code.changed_files)
        for row in final
    ]


def _read_table(directory: Path) -> list[Row]:
    """Return the rows of a finished point's table. Raises EdgeproofError for a damaged one."""
    path = directory / "tables" / "table.json"
    try:
        return read_table_rows(path)
    except ConfigError:
        raise EdgeproofError(describe_damaged_point(path, directory)) from None
