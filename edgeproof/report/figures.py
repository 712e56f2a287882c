"""The figures that a table may show: where each comes from, its unit, its digits, and which way is better."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgeproof.records import record_files
from edgeproof.records.summaries import MULTI_STREAM, OFFLINE, SERVER, SINGLE_STREAM
from edgeproof.report.row import Row
from edgeproof.report.tables import verdict_cell
from edgeproof.statistics.estimates import Estimate

Value = Estimate | float | int | str | None


@dataclass(frozen=True)
class Figure:
    """One figure of a row.

    Attributes:
        of: its value in the row's own unit; `scale` times that is in `unit`.
        digits: after the point; None for as many as its interval deserves.
        scenario: the runs that it comes from, LoadGen's name; None where no run is needed.
        better: whether less or more of it is better; None where neither is.
        sign: whether a plus is written.
    """

    heading: str
    unit: str
    of: Callable[[Row], Value]
    scale: float = 1.0
    digits: int | None = None
    scenario: str | None = None
    better: Literal["less", "more"] | None = None
    sign: bool = False

    @property
    def title(self) -> str:
        """The heading with its unit."""
        return f"{self.heading}, {self.unit}" if self.unit else self.heading

    def number(self, row: Row) -> float | None:
        """Its value in `unit`; None where there is none, or where it is no number."""
        value = self.of(row)
        if value is None or isinstance(value, str):
            return None
        return (value.value if isinstance(value, Estimate) else float(value)) * self.scale

    def interval(self, row: Row) -> tuple[float, float] | None:
        """Its 95% interval in `unit`, where there is one."""
        value = self.of(row)
        if not isinstance(value, Estimate) or math.isnan(value.low):
            return None
        return value.low * self.scale, value.high * self.scale

    def texts(self, row: Row) -> tuple[str, str]:
        """Value and interval as shown, both to the digits that the interval deserves: two of its half width."""
        value, number, interval = self.of(row), self.number(row), self.interval(row)
        if number is None:
            return value if isinstance(value, str) else "", ""
        digits = self.digits
        if digits is None and interval is not None:
            half = max(interval[1] - number, number - interval[0])
            digits = 0 if half <= 0 else max(0, min(3, 1 - math.floor(math.log10(half))))
        sign = "+" if self.sign else ""
        if digits is None:
            return f"{number:{sign},.4g}" if isinstance(value, float | Estimate) else f"{number:{sign},.0f}", ""
        shown = f"{number:{sign},.{digits}f}"
        return shown, "" if interval is None else f"[{interval[0]:{sign},.{digits}f}, {interval[1]:{sign},.{digits}f}]"


def _origin(row: Row) -> str:
    return " + ".join(part for part in (row.parent, row.teacher and f"teacher {row.teacher}") if part)


def _timed(heading: str, of: Callable[[Row], Value], scenario: str = SINGLE_STREAM) -> Figure:
    return Figure(heading, "µs", of, scale=1e-3, scenario=scenario, better="less")


def _size(heading: str, of: Callable[[Row], Value]) -> Figure:
    return Figure(heading, "KiB", of, scale=1 / 1024, digits=1, better="less")


FIGURES: dict[str, Figure] = {
    "from": Figure("from", "", _origin),
    "method": Figure("method", "", lambda row: row.method),
    "accuracy": Figure(
        "accuracy", "%", lambda row: row.accuracy, 100, 2, scenario=record_files.ACCURACY, better="more"
    ),
    "accuracy_difference": Figure(
        "Δ accuracy", "points", lambda row: row.accuracy_difference, 100, 2, record_files.ACCURACY, sign=True
    ),
    "parameters": Figure("parameters", "", lambda row: row.parameters, better="less"),
    "macs": Figure("MACs", "", lambda row: row.macs, better="less"),
    "zeros": Figure("zeros", "%", lambda row: row.weight_sparsity, 100, 1),
    "size": _size("file", lambda row: row.size_bytes),
    "gzip": _size("gzip", lambda row: row.gzip_bytes),
    "entropy_coded": _size("entropy-coded", lambda row: row.entropy_coded_bytes),
    "p50": _timed("p50", lambda row: row.p50_ns),
    "p90": _timed("p90", lambda row: row.p90_ns),
    "p99": _timed("p99", lambda row: row.p99_ns),
    "engine_p50": _timed("engine's p50", lambda row: row.invoke_p50_ns),
    "speed_up": Figure("speed-up", "×", lambda row: row.speed_up, 1, 2, SINGLE_STREAM, "more"),
    "load": Figure("load", "ms", lambda row: row.load_ns, 1e-6, 2, SINGLE_STREAM, "less"),
    "first": Figure("first inference", "ms", lambda row: row.first_inference_ns, 1e-6, 2, SINGLE_STREAM, "less"),
    "peak": Figure("peak memory", "MiB", lambda row: row.peak_rss_bytes, 2**-20, 0, SINGLE_STREAM, "less"),
    "energy": Figure("energy", "µJ", lambda row: row.energy_uj, 1, None, SINGLE_STREAM, "less"),
    "instructions": Figure("instructions", "", lambda row: row.instructions, better="less"),
    "harness": _timed("harness", lambda row: row.harness_p50_ns),
    "multi_stream_p99": _timed("MultiStream p99", lambda row: row.multi_stream_p99_ns, MULTI_STREAM),
    "offline": Figure("Offline", "samples/s", lambda row: row.offline_samples_per_s, 1, 0, OFFLINE, "more"),
    "server": Figure("Server", "samples/s", lambda row: row.server_samples_per_s, 1, 0, SERVER, "more"),
    # Better in neither direction: it is never the best, nor on a front.
    "emulated_p50": Figure("emulated p50", "µs", lambda row: (row.emulated or {}).get("p50_ns"), 1e-3, 0),
    "processes": Figure("processes", "", lambda row: row.processes),
    "measured_at": Figure("measured", "", lambda row: row.measured_at),
    "budget": Figure("budget", "", lambda row: None if row.budget is None else row.budget.outcome),
    "verdict": Figure("verdict", "", verdict_cell),
}
