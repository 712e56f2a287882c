"""The report of a study: its tables, its plots, and the metrics that DVC shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeproof import paths
from edgeproof.config.params import Params, ReportParams
from edgeproof.core.directories import write_atomically, write_json, write_text
from edgeproof.report import families, federated_plots, plots, tables
from edgeproof.report.row import Row
from edgeproof.report.rows import read_rows


def write_study_report(params: Params) -> None:
    """Write results/tables, results/plots and results/metrics.json from results/records."""
    report = params.report
    rows = read_rows(
        paths.RECORDS,
        baseline=report.baseline,
        order={"devices": report.devices, "models": report.models, "runtimes": report.runtimes},
    )
    _write_tables(rows, report, params.study)
    _write_plots(rows)
    write_json(paths.METRICS, _collect_metrics(rows, report))


def _write_tables(rows: list[Row], report: ReportParams, study: str) -> None:
    with write_atomically(paths.TABLES) as out:
        tables.write_tables(out, rows, study=study, baseline=report.baseline)
        if report.families:
            family_rows = families.build_family_rows(rows, report.families)
            write_text(out / "families.md", families.format_families(family_rows, study=study))
            write_text(out / "families.csv", families.format_families_as_csv(family_rows))


def _write_plots(rows: list[Row]) -> None:
    with write_atomically(paths.PLOTS) as out:
        plots.write_points(rows, out)
        plots.draw_plots(rows, out)
        federated_plots.write_plots(rows, out)


def _collect_metrics(rows: Sequence[Row], report: ReportParams) -> dict[str, Any]:
    """Return the figures that `dvc metrics show` and `dvc exp show` display: device → runtime → artifact → figures.

    Only the baseline and the final artifacts are included.
    """
    artifacts = {(model, scheme) for model, schemes in report.final.items() for scheme in schemes}
    artifacts.add((report.baseline, "fp32"))
    metrics: dict[str, Any] = {}
    for row in rows:
        if row.quality is None or (row.model, row.scheme) not in artifacts:
            continue
        runtime = metrics.setdefault(row.device, {}).setdefault(row.runtime, {})
        figures = runtime.setdefault(f"{row.model} {row.scheme}", {})
        figures[row.metric_name or "quality"] = round(row.quality.value, 6)
        figures["size_bytes"] = row.size_bytes
        if row.p50_ns is not None:
            figures["p50_us"] = round(row.p50_ns.value / 1000, 3)
    return metrics
