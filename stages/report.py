"""report: from records to the comparison table, the plots and DVC's metrics."""

from __future__ import annotations

from typing import Any

from edgeproof import entry, paths
from edgeproof.config import params
from edgeproof.core.directories import write_json, write_text, written_whole
from edgeproof.report import families, plots, tables
from edgeproof.report.rows import Row, rows


def main() -> None:
    """Write results/tables, results/plots and results/metrics.json."""
    study = params.load()
    chosen = study.report
    found = rows(
        paths.RECORDS,
        baseline=chosen.baseline,
        order={"devices": chosen.devices, "models": chosen.models, "runtimes": chosen.runtimes},
    )
    shown = {(chosen.baseline, "fp32"), *((model, scheme) for model, of in chosen.final.items() for scheme in of)}
    with written_whole(paths.TABLES) as out:
        tables.write_all(out, found, study=study.study, baseline=chosen.baseline)
        if chosen.families:
            of_families = families.family_rows(found, chosen.families)
            write_text(out / "families.md", families.markdown(of_families, study=study.study))
            write_text(out / "families.csv", families.csv_text(of_families))
    with written_whole(paths.PLOTS) as out:
        write_text(out / "accuracy_latency.csv", plots.scatter_csv(found, "p50_us", _p50_us))
        write_text(out / "accuracy_size.csv", plots.scatter_csv(found, "size_bytes", _size_bytes))
        plots.scatter_svg(found, "median latency, µs", _p50_us, out / "accuracy_latency.svg")
        plots.scatter_svg(found, "file size, bytes", _size_bytes, out / "accuracy_size.svg")
    write_json(paths.METRICS, _metrics(found, shown))


def _p50_us(row: Row) -> float | None:
    return None if row.p50_ns is None else row.p50_ns.value / 1000


def _size_bytes(row: Row) -> float | None:
    return row.size_bytes


def _metrics(found: list[Row], shown: set[tuple[str, str]]) -> dict[str, Any]:
    """What `dvc metrics show` and `dvc exp show` display: baseline and final artifacts, by device and runtime."""
    metrics: dict[str, Any] = {}
    for row in found:
        if row.accuracy is None or (row.model, row.scheme) not in shown:
            continue
        runtime = metrics.setdefault(row.device, {}).setdefault(row.runtime, {})
        place = runtime.setdefault(f"{row.model} {row.scheme}", {})
        place["accuracy"] = round(row.accuracy.value, 6)
        place["size_bytes"] = row.size_bytes
        if row.p50_ns is not None:
            place["p50_us"] = round(row.p50_ns.value / 1000, 3)
    return metrics


if __name__ == "__main__":
    entry.run(main)
