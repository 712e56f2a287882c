"""The comparison table as Markdown, CSV and JSON, all from the same rows."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from edgeproof.core.directories import write_json, write_text
from edgeproof.report.row import Row
from edgeproof.statistics.estimates import Estimate

NONE = "–"
ALONE = " (latency intervals hold within that process alone)"


Item = TypeVar("Item")


@dataclass(frozen=True)
class Column(Generic[Item]):
    """One column of a Markdown table: its heading and how an item fills it."""

    heading: str
    cell: Callable[[Item], str]


def format_study_table(rows: Sequence[Row], *, study: str, baseline: str, baseline_scheme: str = "fp32") -> str:
    """The table for people: rows, then what was refused and why, then remarks, then the conditions."""
    measured = [row for row in rows if row.npu is None and row.emulated is None]
    emulated = [row for row in rows if row.emulated is not None]
    estimated = [row for row in rows if row.npu is not None]
    parts = [f"# Study `{study}`", ""]
    if measured or not (estimated or emulated):
        parts += [*format_markdown_table(measured, COLUMNS), ""]
    if emulated:
        parts += ["## Emulated: answers measured, times not", "", *format_markdown_table(emulated, EMULATED), ""]
        parts += [EMULATED_NOTES, ""]
    if estimated:
        parts += ["## Estimated, not measured", "", *format_markdown_table(estimated, ESTIMATED), "", ESTIMATED_NOTES, ""]
    refused = [row for row in rows if row.reasons]
    if refused:
        parts += ["Refused or unsupported, with the reason:", ""]
        parts += [f"- `{escape(row.device)}` {_listed(row, row.reasons)}" for row in refused]
        parts += [""]
    over = [row for row in rows if row.budget and row.budget.reasons]
    if over:
        parts += ["Not shown to keep within the device's budget (the whole interval must):", ""]
        parts += [f"- `{escape(row.device)}` {_listed(row, row.budget.reasons if row.budget else ())}" for row in over]
        parts += [""]
    noted = dict.fromkeys(f"- {_listed(row, row.notes)}" for row in rows if row.notes)
    if noted:
        parts += ["Remarks:", "", *noted, ""]
    return "\n".join([*parts, *_conditions(rows, f"`{baseline}` in {baseline_scheme}"), ""])


def format_rows_as_csv(rows: Sequence[Row]) -> str:
    """One line a row, estimates as three columns (name, name_low, name_high), units in the names."""
    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def describe_rows(rows: Sequence[Row], *, study: str) -> dict[str, Any]:
    """The same rows for programs; a missing figure is null."""
    return {"schema": 1, "study": study, "rows": [_without_nan(row.as_dict()) for row in rows]}


def write_tables(directory: Path, rows: Sequence[Row], *, study: str, baseline: str, baseline_scheme: str = "fp32") -> str:
    """Write table.md, table.csv and table.json into `directory`; returns the first."""
    text = format_study_table(rows, study=study, baseline=baseline, baseline_scheme=baseline_scheme)
    write_text(directory / "table.md", text)
    write_text(directory / "table.csv", format_rows_as_csv(rows))
    write_json(directory / "table.json", describe_rows(rows, study=study))
    return text


# --- cells -------------------------------------------------------------------------------------------------------


def us_cell(estimate: Estimate | None) -> str:
    """Nanoseconds as microseconds with their interval."""
    return _with_interval(None if estimate is None else estimate.scale(1e-3))


def _with_interval(estimate: Estimate | None) -> str:
    """A value to the digits its interval deserves: two significant digits of the half width."""
    if estimate is None:
        return NONE
    if math.isnan(estimate.low):
        return f"{estimate.value:,.4g}"
    half = max(estimate.high - estimate.value, estimate.value - estimate.low)
    digits = 0 if half <= 0 else max(0, min(3, 1 - math.floor(math.log10(half))))
    return f"{estimate.value:,.{digits}f} [{estimate.low:,.{digits}f}, {estimate.high:,.{digits}f}]"


def percent_cell(estimate: Estimate | None, sign: str = "") -> str:
    """A share as percent with its interval."""
    if estimate is None:
        return NONE
    value, low, high = (f"{100 * x:{sign}.2f}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def count_cell(count: int | None) -> str:
    """A whole number with its thousands apart."""
    return NONE if count is None else f"{count:,}"


def bytes_cell(count: int | None) -> str:
    """Bytes as KiB."""
    return NONE if count is None else f"{count / 1024:,.1f}"


def _ms(estimate: Estimate | None) -> str:
    return NONE if estimate is None else f"{estimate.value * 1e-6:,.2f}"


def _rate(estimate: Estimate | None) -> str:
    return NONE if estimate is None else f"{estimate.value:,.0f}"


def times_cell(estimate: Estimate | None) -> str:
    """A ratio with its interval."""
    return NONE if estimate is None else f"{estimate.value:.2f}× [{estimate.low:.2f}, {estimate.high:.2f}]"


def _estimated(row: Row, name: str) -> int | None:
    return None if row.estimate is None else int(row.estimate[name])


def _emulated_us(row: Row, name: str) -> str:
    return f"{row.emulated[name] * 1e-3:,.0f}" if row.emulated and name in row.emulated else NONE


def _scaled(value: int | None, factor: float) -> str:
    return NONE if value is None else f"{value * factor:,.1f}"


def _origin(row: Row) -> str:
    return " + ".join(part for part in (row.parent, row.teacher and f"teacher {row.teacher}") if part) or NONE


def verdict_cell(row: Row) -> str:
    """The verdict, and where runs were refused the scenarios that therefore show no figure."""
    if row.npu is not None and row.verdict == "valid":
        return "estimated"
    if row.emulated is not None and row.verdict == "valid":
        return "emulated"
    refused = ", ".join(dict.fromkeys(reason.partition(" ")[0] for reason in row.reasons))
    return f"{row.verdict} ({refused})" if row.verdict in ("invalid", "error") and refused else row.verdict


def _spread(row: Row) -> str:
    if row.p50_between is None or row.p50_within is None:
        return NONE
    return f"{100 * row.p50_between:.2g} ({100 * row.p50_within:.2g})"


COLUMNS: tuple[Column[Row], ...] = (
    Column("device", lambda row: row.device),
    Column("model", lambda row: row.model),
    Column("from", _origin),
    Column("method", lambda row: row.method),
    Column("runtime", lambda row: row.runtime),
    Column("scheme", lambda row: row.scheme),
    Column("accuracy %", lambda row: percent_cell(row.accuracy)),
    Column("Δ baseline, points", lambda row: percent_cell(row.accuracy_difference, "+")),
    Column("parameters", lambda row: count_cell(row.parameters)),
    Column("MACs", lambda row: count_cell(row.macs)),
    Column("zeros %", lambda row: NONE if row.weight_sparsity is None else f"{100 * row.weight_sparsity:.1f}"),
    Column("file KiB", lambda row: bytes_cell(row.size_bytes)),
    Column("gzip KiB", lambda row: bytes_cell(row.gzip_bytes)),
    Column("entropy-coded KiB", lambda row: bytes_cell(row.entropy_coded_bytes)),
    Column("p50 µs", lambda row: us_cell(row.p50_ns)),
    Column("of it engine", lambda row: us_cell(row.invoke_p50_ns)),
    Column("p90 µs", lambda row: us_cell(row.p90_ns)),
    Column("p99 µs", lambda row: us_cell(row.p99_ns)),
    Column("deviation %, between (within) processes", _spread),
    Column("speed-up", lambda row: times_cell(row.speed_up)),
    Column("load ms", lambda row: _ms(row.load_ns)),
    Column("first ms", lambda row: _ms(row.first_inference_ns)),
    Column("peak MiB", lambda row: NONE if row.peak_rss_bytes is None else f"{row.peak_rss_bytes / 2**20:.0f}"),
    Column("MultiStream p99 µs", lambda row: us_cell(row.multi_stream_p99_ns)),
    Column("energy µJ", lambda row: NONE if row.energy_uj is None else _with_interval(row.energy_uj)),
    Column("instructions", lambda row: count_cell(row.instructions)),
    Column("Offline samples/s", lambda row: _rate(row.offline_samples_per_s)),
    Column("Server samples/s", lambda row: _rate(row.server_samples_per_s)),
    Column("harness µs", lambda row: us_cell(row.harness_p50_ns)),
    Column("budget", lambda row: NONE if row.budget is None else row.budget.outcome),
    Column("verdict", verdict_cell),
)
EMULATED: tuple[Column[Row], ...] = (
    *(column for column in COLUMNS if column.heading in ("device", "model", "runtime", "scheme", "accuracy %")),
    *(column for column in COLUMNS if column.heading in ("Δ baseline, points", "file KiB", "peak MiB", "instructions")),
    Column("emulated p50 µs", lambda row: _emulated_us(row, "p50_ns")),
    Column("emulated p99 µs", lambda row: _emulated_us(row, "p99_ns")),
    Column("verdict", verdict_cell),
)
EMULATED_NOTES = (
    "An emulator runs the device's own instructions, so accuracy, memory and counts of instructions are the "
    "architecture's. Its times are those of the emulation: no such device took them, and they compare with nothing, "
    "not even with one another."
)
ESTIMATED: tuple[Column[Row], ...] = (
    Column("device", lambda row: row.device),
    Column("NPU", lambda row: row.npu or NONE),
    Column("model", lambda row: row.model),
    Column("runtime", lambda row: row.runtime),
    Column("scheme", lambda row: row.scheme),
    Column("file KiB", lambda row: bytes_cell(row.size_bytes)),
    Column("estimated cycles", lambda row: count_cell(_estimated(row, "cycles"))),
    Column("estimated µs", lambda row: _scaled(_estimated(row, "inference_ns"), 1e-3)),
    Column("SRAM KiB", lambda row: bytes_cell(_estimated(row, "sram_bytes"))),
    Column("flash KiB", lambda row: bytes_cell(_estimated(row, "flash_bytes"))),
    Column("operators on the NPU", lambda row: count_cell(_estimated(row, "npu_operators"))),
    Column("verdict", verdict_cell),
)
ESTIMATED_NOTES = (
    "Cycles, time and memory are what Arm's compiler Vela estimates for the accelerator with the memories and the "
    "clock of a reference system. No such device ran anything, and nothing here compares with a measured figure."
)


def format_markdown_table(items: Sequence[Item], columns: Sequence[Column[Item]]) -> list[str]:
    """The lines of a Markdown table, one an item."""
    lines = [
        "| " + " | ".join(column.heading for column in columns) + " |",
        "|" + "---|" * len(columns),
    ]
    return lines + ["| " + " | ".join(escape(column.cell(item)) for column in columns) + " |" for item in items]


def escape(text: str) -> str:
    """Text that stays in its cell and its line, and is never markup."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("](", "]\\(")
    return " ".join(plain.splitlines())


def escape_lines(lines: Sequence[str]) -> str:
    """Lines of a document in which names may be anything: no line becomes two, and no tag is one."""
    return "".join(" ".join(line.replace("&", "&amp;").replace("<", "&lt;").splitlines()) + "\n" for line in lines)


def _listed(row: Row, remarks: Sequence[str]) -> str:
    return escape(f"`{row.model}` {row.runtime} {row.scheme}: {'; '.join(remarks)}")


def _conditions(rows: Sequence[Row], baseline: str) -> list[str]:
    measured = [row for row in rows if row.versions]
    lines = [
        "Brackets are 95% intervals: Wilson's for accuracy, paired for its difference, Student's t over processes for "
        "latency (never narrower than the order statistics within them). "
        f"Differences and speed-ups are against {baseline} on the same device and runtime. "
        "Latency is one inference as the application sees it, (de)quantization included, batch 1, and 'of it engine' "
        "the engine's own share of the median; "
        "'harness' is the median cost that LoadGen and the interpreter add around it, measured with the null runtime.",
        "",
    ]
    latest = {
        (row.device, row.runtime): max(
            other.measured_at for other in measured if (other.device, other.runtime) == (row.device, row.runtime)
        )
        for row in measured
    }
    repeats: dict[tuple[str, str], int] = defaultdict(int)
    for row in measured:
        repeats[row.device, row.runtime] += row.repeated
    seen = dict.fromkeys(
        f"- `{row.device}`: {row.cpu or 'unknown processor'}, {row.threads} thread(s), {row.runtime} "
        f"({', '.join(f'{name} {version}' for name, version in (row.versions or {}).items())}), session {row.session}, "
        f"preset {row.preset}, {row.processes} process(es) an artifact{ALONE if row.processes == 1 else ''}, "
        f"{repeats[row.device, row.runtime]} disturbed run(s) repeated, "
        f"{latest[row.device, row.runtime]}"
        for row in measured
        if row.processes
    )
    return [*lines, *map(escape, seen)]


# --- plain data --------------------------------------------------------------------------------------------------


def _flat(row: Row) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.as_dict().items():
        if isinstance(getattr(row, name), Estimate) or (value is None and _is_estimate(name)):
            parts = _without_nan(value or {"value": None, "low": None, "high": None})
            flat |= {name: parts["value"], f"{name}_low": parts["low"], f"{name}_high": parts["high"]}
        elif name in ("reasons", "notes"):
            flat[name] = "; ".join(value)
        elif name == "budget":
            gate = value or {"outcome": None, "reasons": ()}
            flat |= {name: gate["outcome"], f"{name}_reasons": "; ".join(gate["reasons"])}
        elif name == "estimate":  # in columns of its own, which no measured figure ever enters
            estimated = dict(value or {"tool": None})
            flat |= {name: estimated.pop("tool"), **{f"estimated_{key}": figure for key, figure in estimated.items()}}
        elif name == "emulated":  # in columns of its own too, where there are any
            flat |= {f"emulated_{key}": figure for key, figure in (value or {}).items()}
        elif name == "versions":
            flat[name] = "; ".join(f"{package} {version}" for package, version in (value or {}).items())
        elif name == "conditions":
            continue  # nested; table.json has them
        else:
            flat[name] = value
    return flat


def _is_estimate(name: str) -> bool:
    return "Estimate" in str(Row.__annotations__[name])


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
