"""The report of a study: its tables, its plots, and the metrics that DVC shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeproof import paths
from edgeproof.config.params import Params, ReportParams
from edgeproof.core.directories import write_atomically, write_json, write_text
from edgeproof.report import families, plots, tables
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
        write_text(out / "accuracy_latency.csv", plots.format_scatter_csv(rows, "p50_us", _p50_us))
        write_text(out / "accuracy_size.csv", plots.format_scatter_csv(rows, "size_bytes", _size_bytes))
        plots.draw_scatter(rows, "median latency, µs", _p50_us, out / "accuracy_latency.svg")
        plots.draw_scatter(rows, "file size, bytes", _size_bytes, out / "accuracy_size.svg")


def _p50_us(row: Row) -> float | None:
    return None if row.p50_ns is None else row.p50_ns.value / 1000


def _size_bytes(row: Row) -> float | None:
    return row.size_bytes


def _collect_metrics(rows: Sequence[Row], report: ReportParams) -> dict[str, Any]:
    """Return the figures that `dvc metrics show` and `dvc exp show` display: device → runtime → artifact → figures.

    Only the baseline and the final artifacts are included.
    """
    artifacts = {(model, scheme) for model, schemes in report.final.items() for scheme in schemes}
    artifacts.add((report.baseline, "fp32"))
    metrics: dict[str, Any] = {}
    for row in rows:
        if row.accuracy is None or (row.model, row.scheme) not in artifacts:
            continue
        runtime = metrics.setdefault(row.device, {}).setdefault(row.runtime, {})
        figures = runtime.setdefault(f"{row.model} {row.scheme}", {})
        figures["accuracy"] = round(row.accuracy.value, 6)
        figures["size_bytes"] = row.size_bytes
        if row.p50_ns is not None:
            figures["p50_us"] = round(row.p50_ns.value / 1000, 3)
    return metrics
