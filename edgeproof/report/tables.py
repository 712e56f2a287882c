"""The results table of a study, as Markdown, CSV and JSON from the same rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from edgeproof.core.directories import write_json, write_text
from edgeproof.report.captions import COVERAGE, explain_direction, explain_intervals
from edgeproof.report.figure import Figure
from edgeproof.report.figures import ESTIMATES, FIGURES, choose_figure, format_verdict, list_metrics, make_column
from edgeproof.report.markdown_text import EMPTY_CELL, Column, escape, format_markdown_table
from edgeproof.report.row import Row
from edgeproof.report.row_data import describe_rows, format_rows_as_csv

SINGLE_PROCESS = " (latency intervals hold within that process alone)"


def write_tables(
    directory: Path, rows: Sequence[Row], *, study: str, baseline: str, baseline_scheme: str = "fp32"
) -> str:
    """Write table.md, table.csv and table.json into `directory`; return the text of table.md.

    `baseline` and `baseline_scheme` name the artifact that the rows' differences and speed-ups refer to.
    """
    text = format_study_table(rows, study=study, baseline=baseline, baseline_scheme=baseline_scheme)
    write_text(directory / "table.md", text)
    write_text(directory / "table.csv", format_rows_as_csv(rows))
    write_json(directory / "table.json", describe_rows(rows, study=study))
    return text


def format_study_table(rows: Sequence[Row], *, study: str, baseline: str, baseline_scheme: str = "fp32") -> str:
    """Return table.md: the rows, then the refusals with their reasons, then remarks, then the conditions."""
    measured = [row for row in rows if row.npu is None and row.emulated is None]
    emulated = [row for row in rows if row.emulated is not None]
    estimated = [row for row in rows if row.npu is not None]
    parts = [f"# Study `{study}`", ""]
    if measured or not (estimated or emulated):
        parts += [*format_markdown_table(measured, list_columns(measured)), ""]
    if emulated:
        columns = list_emulated_columns(emulated)
        parts += ["## Emulated: answers measured, times not", "", *format_markdown_table(emulated, columns)]
        parts += ["", EMULATED_NOTES, ""]
    if estimated:
        parts += ["## Estimated, not measured", "", *format_markdown_table(estimated, ESTIMATED_COLUMNS)]
        parts += ["", ESTIMATED_NOTES, ""]
    parts += _list_reasons(rows)
    return "\n".join([*parts, *_describe_conditions(rows, f"`{baseline}` in {baseline_scheme}"), ""])


def _column(figure: Figure, *, with_interval: bool = True) -> Column[Row]:
    return make_column(figure, lambda row: row, with_interval=with_interval)


_DEVICE, _MODEL, _RUNTIME, _SCHEME = (
    Column[Row]("device", lambda row: row.device),
    Column[Row]("model", lambda row: row.model),
    Column[Row]("runtime", lambda row: row.runtime),
    Column[Row]("scheme", lambda row: row.scheme),
)
# Figures that table.md shows without their intervals, to stay readable.
WITHOUT_INTERVAL = ("load", "first", "offline", "server")
SHOWN_FIGURES = (
    *("quality", "quality_difference", "parameters", "macs", "zeros", "size", "gzip", "entropy_coded"),
    *("p50", "p50_attempts", "engine_p50", "postprocessing_p50", "p90", "p99", "deviation", "speed_up"),
    *("preprocessing_p50", "preprocessing_p90", "preprocessed", "load", "first", "peak"),
    *("multi_stream_p99", "multi_stream_estimate", "energy", "instructions", "placement", "offline"),
    *("server", "server_p99", "server_limit", "overhead", "harness"),
    *("rounds", "bytes_up", "bytes_down", "client_mean", "worst_tenth", "epsilon"),
    *("refused_runs", "budget", "verdict"),
)
EMULATED_FIGURES = (
    *("quality", "quality_difference", "size", "arena", "peak", "instructions", "placement"),
    *("emulated_p50", "emulated_p99", "budget", "verdict"),
)


def list_columns(rows: Sequence[Row]) -> list[Column[Row]]:
    """Return the columns of table.md for measured rows, whose metric decides the headings of the quality."""
    return [
        _DEVICE,
        _MODEL,
        *(_column(FIGURES[name]) for name in ("from", "method")),
        _RUNTIME,
        _SCHEME,
        *(_column(choose_figure(name, rows), with_interval=name not in WITHOUT_INTERVAL) for name in SHOWN_FIGURES),
    ]


def list_emulated_columns(rows: Sequence[Row]) -> list[Column[Row]]:
    """Return the columns of table.md for emulated rows."""
    figures = (choose_figure(name, rows) for name in EMULATED_FIGURES)
    return [_DEVICE, _MODEL, _RUNTIME, _SCHEME, *map(_column, figures)]


EMULATED_NOTES = (
    "An emulator runs the instructions of the device, so answers, memory and instruction counts are those of its "
    "architecture. Durations are those of the emulation. They cannot be compared with any duration, not even with each "
    "other. The runtime tflm runs the kernels of microcontrollers on another machine: its answers and its arena are "
    "theirs, and its durations are not."
)
ESTIMATED_COLUMNS: tuple[Column[Row], ...] = (
    _DEVICE,
    Column("NPU", lambda row: row.npu or EMPTY_CELL),
    _MODEL,
    _RUNTIME,
    _SCHEME,
    _column(FIGURES["size"]),
    *(_column(figure) for figure in ESTIMATES.values()),
    Column("verdict", format_verdict),
)
ESTIMATED_NOTES = (
    "Cycles, time and memory are estimates by Arm's compiler Vela for the accelerator, with the memories and the clock "
    "of a reference system. No device ran anything. Do not compare these figures with measured ones."
)


FIGURE_NOTES = (
    "Latency is one inference as the application sees it, batch 1, with quantization and dequantization. "
    "'placement' counts the operators that run on the expected unit and kernel, out of all operators. "
    "'engine p50' is the part of the median that the engine takes, 'postprocessing p50' that of the task. "
    "'preprocessing' is the time from a raw input to the model's input, in one thread and outside of LoadGen. The "
    "latency does not include it. "
    "'p50 of all attempts' includes refused runs, and is shown where it lies outside of the interval of p50. "
    "'LoadGen overhead' is LoadGen's median minus the median of the calls in the same processes. That of the null "
    "runtime is measured without a model. "
    "'model entropy-coded' is the size of the model's weights in a Huffman code. It belongs to the model, not to a "
    "file, so only fp32 rows show it. "
    "'MultiStream plain p99' is the percentile of the measured queries. LoadGen's early-stopping estimate is its upper "
    "bound for so few queries. "
    "'sent by clients' and 'sent to clients' are the messages of a federation as encoded, over all rounds. Its clients "
    "are measured with samples of their own before export. "
    "'Server offered' is the rate that the study chose, a share of the rate that p50 allows. It is not a capacity."
)


def _list_reasons(rows: Sequence[Row]) -> list[str]:
    """Return the refused rows, the rows over their device's budget, and remarks of exports, with their reasons."""
    parts = []
    refused = [row for row in rows if row.reasons]
    if refused:
        parts += ["Refused or unsupported, with the reason:", ""]
        parts += [f"- `{escape(row.device)}` {_format_remarks(row, row.reasons)}" for row in refused]
        parts += [""]
    over_budget = [(row, row.budget.reasons) for row in rows if row.budget and row.budget.reasons]
    if over_budget:
        parts += ["Not within the device's budget (the whole interval of a figure must be within it):", ""]
        parts += [f"- `{escape(row.device)}` {_format_remarks(row, reasons)}" for row, reasons in over_budget]
        parts += [""]
    notes = [(row, _list_notes(row)) for row in rows]
    remarks = dict.fromkeys(f"- {_format_remarks(row, lines)}" for row, lines in notes if lines)
    if remarks:
        parts += ["Remarks:", "", *remarks, ""]
    return parts


def _list_notes(row: Row) -> list[str]:
    """Return the remarks of the export, and what was preprocessed or why that has no time."""
    notes = list(row.notes)
    if row.preprocess_missing is not None:
        notes.append(f"the time of preprocessing is missing: {row.preprocess_missing}")
    elif row.preprocess_p50_ns is not None:
        notes.append(f"preprocessed {row.raw_inputs}")
    return notes


def _format_remarks(row: Row, remarks: Sequence[str]) -> str:
    return escape(f"`{row.model}` {row.runtime} {row.scheme}: {'; '.join(remarks)}")


def _describe_conditions(rows: Sequence[Row], baseline: str) -> list[str]:
    """Return an explanation of the table, and one line with the conditions of every device and runtime."""
    measured = [row for row in rows if row.versions]
    latest: dict[tuple[str, str], str] = {}
    repeated: dict[tuple[str, str], int] = defaultdict(int)
    for row in measured:
        key = row.device, row.runtime
        latest[key] = max(latest.get(key, ""), row.measured_at)
        repeated[key] += row.repeated
    lines = dict.fromkeys(
        f"- `{row.device}`: {row.cpu or 'unknown processor'}, {row.threads} thread(s), {row.runtime} "
        f"({', '.join(f'{name} {version}' for name, version in (row.versions or {}).items())}), session {row.session}, "
        f"preset {row.preset}, {row.processes} process(es) an artifact{SINGLE_PROCESS if row.processes == 1 else ''}, "
        f"{repeated[row.device, row.runtime]} disturbed run(s) repeated, "
        f"{latest[row.device, row.runtime]}"
        for row in measured
        if row.processes
    )
    metrics = list_metrics(rows)
    texts = [explain_intervals(metrics), explain_direction(metrics), COVERAGE]
    texts.append(f"Differences and speed-ups are against {baseline} on the same device and runtime.")
    return [" ".join(filter(None, [*texts, FIGURE_NOTES])), "", *map(escape, lines)]
