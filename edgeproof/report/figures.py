"""The registry of figures, the figures of a compiler's estimates, and the choice of a figure for a table's rows.

Every table takes its headings and formats from here: results/tables, families, sweeps, reports and the site. The names
are what `columns`, `sort` and `pareto` of a selection in conf/reports may hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from edgeproof.records import kinds
from edgeproof.records.kinds import MULTI_STREAM, OFFLINE, SERVER, SINGLE_STREAM
from edgeproof.report.figure import Figure, FigureValue
from edgeproof.report.markdown_text import EMPTY_CELL, Column, Item
from edgeproof.report.origin import describe_origin
from edgeproof.report.row import Row
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import Metric


def make_column(figure: Figure, get_row: Callable[[Item], Row | None], *, with_interval: bool = True) -> Column[Item]:
    """Return a column of a Markdown table that shows a figure of each item's row."""

    def cell(item: Item) -> str:
        row = get_row(item)
        return EMPTY_CELL if row is None else figure.format_row_cell(row, with_interval=with_interval)

    return Column(figure.title, cell)


def format_verdict(row: Row) -> str:
    """Return the verdict, with the refused scenarios in parentheses: their figures are missing."""
    if row.npu is not None and row.verdict == "valid":
        return "estimated"
    if row.emulated is not None and row.verdict == "valid":
        return "emulated"
    refused = ", ".join(dict.fromkeys(reason.partition(" ")[0] for reason in row.reasons))
    return f"{row.verdict} ({refused})" if row.verdict in ("invalid", "error") and refused else row.verdict


def _get_entropy_coded_bytes(row: Row) -> int | None:
    """Return the size that belongs to the model. Only the fp32 row has it: other files hold other weights."""
    return row.model_entropy_coded_bytes if row.scheme == "fp32" else None


def _get_differing_attempts(row: Row) -> Estimate | None:
    """Return p50 over all attempts where it differs from the published one by more than the interval."""
    return row.p50_attempts_ns if row.has_selective_refusals else None


def _format_spread(row: Row) -> str:
    if row.p50_between is None or row.p50_within is None:
        return ""
    return f"{100 * row.p50_between:.2g} ({100 * row.p50_within:.2g})"


def _text(
    name: str, heading: str, field: str, read: Callable[[Row], str | None] | None = None, unit: str = ""
) -> Figure:
    return Figure(name, heading, unit, field, read, is_text=True)


def _count(name: str, heading: str) -> Figure:
    return Figure(name, heading, field=name, better="less")


def _size(name: str, heading: str) -> Figure:
    return Figure(name, heading, "KiB", f"{name}_bytes", scale=1 / 1024, digits=1, better="less")


def _percentile(name: str, heading: str, field: str, scenario: str = SINGLE_STREAM) -> Figure:
    return Figure(name, heading, "µs", field, scale=1e-3, scenario=scenario, better="less")


def _duration(name: str, heading: str, field: str) -> Figure:
    """Return a duration that is measured outside of LoadGen's scenarios."""
    return Figure(name, heading, "µs", field, scale=1e-3, better="less")


def _start_up(name: str, heading: str, field: str) -> Figure:
    return Figure(name, heading, "ms", field, scale=1e-6, digits=2, scenario=SINGLE_STREAM, better="less")


def _emulator_duration(name: str) -> Figure:
    """Return a duration on an emulator. It has no better direction, so it is never marked as best."""
    key, heading = f"{name}_ns", f"emulated {name}"
    read: Callable[[Row], FigureValue] = lambda row: (row.emulated or {}).get(key)  # noqa: E731
    return Figure(f"emulated_{name}", heading, "µs", "emulated", read, scale=1e-3, digits=0)


def _make_federated(name: str, heading: str, key: str, unit: str = "", **changes: Any) -> Figure:
    """Return a figure of the federation that made the model. Other models have none."""
    read: Callable[[Row], FigureValue] = lambda row: (row.federated or {}).get(key)  # noqa: E731
    return Figure(name, heading, unit, "federated", read, **changes)


_REGISTRY = (
    _text("from", "from", "parent", lambda row: describe_origin(row.parent, row.teacher)),
    _text("method", "method", "method"),
    # The metric of the rows replaces heading, unit, scale, digits and direction.
    Figure("quality", "quality", field="quality", scenario=kinds.ACCURACY, better="more", is_quality=True),
    Figure(
        "quality_difference",
        "Δ quality",
        field="quality_difference",
        scenario=kinds.ACCURACY,
        signed=True,
        is_quality=True,
    ),
    _count("parameters", "parameters"),
    _count("macs", "MACs"),
    Figure("zeros", "zeros", "%", "weight_sparsity", scale=100, digits=1),
    _size("size", "file"),
    _size("gzip", "gzip"),
    Figure(
        "entropy_coded",
        "model entropy-coded",
        "KiB",
        "model_entropy_coded_bytes",
        _get_entropy_coded_bytes,
        scale=1 / 1024,
        digits=1,
        better="less",
    ),
    _percentile("p50", "p50", "p50_ns"),
    _percentile("p90", "p90", "p90_ns"),
    _percentile("p99", "p99", "p99_ns"),
    _percentile("engine_p50", "engine p50", "invoke_p50_ns"),
    _percentile("postprocessing_p50", "postprocessing p50", "postprocess_p50_ns"),
    _duration("preprocessing_p50", "preprocessing p50", "preprocess_p50_ns"),
    _duration("preprocessing_p90", "preprocessing p90", "preprocess_p90_ns"),
    Figure("preprocessed", "preprocessed inputs", field="preprocessed"),
    _text("deviation", "deviation between (within) processes", "p50_between", _format_spread, "%"),
    Figure("speed_up", "speed-up", "×", "speed_up", digits=2, scenario=SINGLE_STREAM, better="more", is_relative=True),
    _start_up("load", "load", "load_ns"),
    _start_up("first", "first inference", "first_inference_ns"),
    Figure(
        "peak",
        "peak memory",
        "MiB",
        "peak_rss_bytes",
        scale=2**-20,
        digits=0,
        scenario=SINGLE_STREAM,
        better="less",
    ),
    _size("arena", "arena"),
    Figure("energy", "energy", "µJ", "energy_uj", scenario=SINGLE_STREAM, better="less"),
    _count("instructions", "instructions"),
    _text("placement", "placement", "placement", lambda row: None if row.placement is None else str(row.placement)),
    _percentile("overhead", "LoadGen overhead", "overhead_p50_ns"),
    _percentile("harness", "LoadGen overhead of the null runtime", "harness_p50_ns"),
    _percentile("multi_stream_p99", "MultiStream plain p99", "multi_stream_p99_ns", MULTI_STREAM),
    _percentile(
        "multi_stream_estimate", "MultiStream early-stopping estimate of p99", "multi_stream_estimate_ns", MULTI_STREAM
    ),
    Figure(
        "offline",
        "Offline at batch 1",
        "samples/s",
        "offline_samples_per_s",
        digits=0,
        scenario=OFFLINE,
        better="more",
    ),
    # The study chooses the offered rate, so a higher rate is not better.
    Figure(
        "server",
        "Server offered",
        "samples/s",
        "server_offered_samples_per_s",
        lambda row: row.server_offered_samples_per_s or row.server_samples_per_s,
        digits=0,
        scenario=SERVER,
        is_condition=True,
    ),
    Figure(
        "server_p99", "Server p99 at that rate", "µs", "server_p99_ns", scale=1e-3, scenario=SERVER, is_condition=True
    ),
    Figure("server_limit", "Server p99 limit", "µs", "server_limit_ns", scale=1e-3, digits=0, scenario=SERVER),
    _make_federated("rounds", "rounds", "rounds", better="less"),
    _make_federated("bytes_up", "sent by clients", "bytes_up", "MiB", scale=2**-20, digits=1, better="less"),
    _make_federated("bytes_down", "sent to clients", "bytes_down", "MiB", scale=2**-20, digits=1, better="less"),
    _make_federated(
        "client_mean",
        "mean of clients",
        "client_quality_mean",
        better="more",
        is_quality=True,
        suffix="of clients (mean)",
    ),
    _make_federated(
        "worst_tenth",
        "quality of clients (worst tenth)",
        "client_quality_worst_tenth",
        better="more",
        is_quality=True,
        suffix="of clients (worst tenth)",
    ),
    _make_federated("epsilon", "epsilon", "epsilon", digits=2, better="less"),
    Figure("refused_runs", "refused runs", field="refused_runs"),
    Figure(
        "p50_attempts",
        "p50 of all attempts, if it differs",
        "µs",
        "p50_attempts_ns",
        _get_differing_attempts,
        scale=1e-3,
        scenario=SINGLE_STREAM,
        is_condition=True,
    ),
    _emulator_duration("p50"),
    _emulator_duration("p99"),
    Figure("processes", "processes", field="processes"),
    _text("measured_at", "measured", "measured_at"),
    _text("budget", "budget", "budget", lambda row: None if row.budget is None else row.budget.outcome),
    _text("verdict", "verdict", "verdict", format_verdict),
)
FIGURES: dict[str, Figure] = {figure.name: figure for figure in _REGISTRY}
# Names of earlier versions, in which every task was judged by its accuracy.
FORMER_NAMES = {"accuracy": "quality", "accuracy_difference": "quality_difference"}


def choose_figure(name: str, rows: Iterable[Row]) -> Figure:
    """Return a figure as a table of these rows shows it.

    A figure of a quality is that of the rows' metric. If they have several metrics, it is called 'quality', and its
    cells name their metrics.
    """
    figure = FIGURES[name]
    if not figure.is_quality:
        return figure
    metrics = list_metrics(rows)
    return figure.for_metric(metrics[0]) if len(metrics) == 1 else replace(figure, names_metric=len(metrics) > 1)


def list_metrics(rows: Iterable[Row]) -> list[Metric]:
    """Return the metrics that the rows' qualities are measured by, in the order of the rows."""
    return list(dict.fromkeys(row.metric for row in rows if row.metric is not None))


def _estimate(
    name: str, heading: str, key: str, unit: str = "", *, scale: float = 1.0, digits: int | None = None
) -> Figure:
    def read(row: Row) -> FigureValue:
        return None if row.estimate is None else int(row.estimate[key])

    return Figure(name, heading, unit, "estimate", read, scale=scale, digits=digits)


# Figures that a compiler estimated. No selection can name them: they never stand beside measured ones.
ESTIMATES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        _estimate("cycles", "estimated cycles", "cycles"),
        _estimate("inference", "estimated time", "inference_ns", "µs", scale=1e-3, digits=1),
        _estimate("sram", "SRAM", "sram_bytes", "KiB", scale=1 / 1024, digits=1),
        _estimate("flash", "flash", "flash_bytes", "KiB", scale=1 / 1024, digits=1),
        _estimate("npu_operators", "operators on the NPU", "npu_operators"),
    )
}
