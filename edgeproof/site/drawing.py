"""Draw a latency distribution and a series of nights in SVG, without scripts and in the page's colours."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from edgeproof.records.summaries import QUANTILE_SHARES
from edgeproof.report.figures import FIGURES
from edgeproof.statistics.change_points import Step

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 40
# A single slow inference would compress the rest of the distribution, so the last thousandth is not drawn.
MAX_SHARE = 0.999
MAX_TICKS = 6
INNER_MARGIN = 12
HEADROOM_SHARE = 0.1


def draw_distribution(processes: Sequence[Sequence[float]], name: str) -> Markup:
    """Draw the cumulative distribution of latency, one line for each process, over a logarithmic time axis.

    `processes` has the quantiles of each process in ns, at summaries.QUANTILE_SHARES.
    """
    shares = [(index, share) for index, share in enumerate(QUANTILE_SHARES) if share <= MAX_SHARE]
    curves = [
        [(quantiles[index] / 1000, share) for index, share in shares if quantiles[index] > 0] for quantiles in processes
    ]
    times_us = [time_us for curve in curves for time_us, _ in curve]
    if not times_us:
        return Markup("")
    x = _Axis(math.log(min(times_us)), math.log(max(times_us)), LEFT, WIDTH - RIGHT)
    y = _Axis(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    lines = "".join(_draw_line([(x(math.log(time_us)), y(share)) for time_us, share in curve]) for curve in curves)
    ticks = "".join(_draw_x_tick(x(math.log(value)), f"{value:,.4g}") for value in _choose_ticks(times_us))
    ticks += "".join(_draw_y_tick(y(share), f"{share:.0%}") for share in (0, 0.5, 0.9, 1))
    medians_us = sorted(quantiles[QUANTILE_SHARES.index(0.5)] / 1000 for quantiles in processes)
    noun = "process" if len(processes) == 1 else "processes"
    summary = f"{len(processes)} {noun}; medians from {medians_us[0]:,.4g} to {medians_us[-1]:,.4g} µs."
    return _frame(name, summary, ticks + lines, "latency, µs", "share of inferences")


def draw_series(nights: Sequence[str], values_us: Sequence[float], steps: Sequence[Step], name: str) -> Markup:
    """Draw the median latency by night, with a vertical line at each change point. Empty for fewer than two nights."""
    if len(values_us) < 2:
        return Markup("")
    low, high = min(values_us), max(values_us)
    headroom = HEADROOM_SHARE * (high - low) or 0.05 * high
    x = _Axis(0, len(nights) - 1, LEFT + INNER_MARGIN, WIDTH - RIGHT - INNER_MARGIN)
    y = _Axis(low - headroom, high + headroom, HEIGHT - BOTTOM, TOP)
    points = [(x(index), y(value)) for index, value in enumerate(values_us)]
    drawn = _draw_line(points) + "".join(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3"/>' for cx, cy in points)
    ticks = _draw_x_tick(x(0), nights[0]) + _draw_x_tick(x(len(nights) - 1), nights[-1], "end")
    ticks += "".join(_draw_y_tick(y(value), f"{value:,.4g}") for value in sorted({low, high}))
    summary = [f"{len(nights)} nights from {values_us[0]:,.4g} to {values_us[-1]:,.4g} µs."]
    for step in steps:
        change = f"{100 * (step.ratio - 1):+.1f}%"
        drawn += _draw_step(x(step.index - 0.5), change)
        summary.append(f"Change of {change} on {nights[step.index]}.")
    return _frame(name, " ".join(summary), ticks + drawn, "night", FIGURES["p50"].title)


class _Axis:
    """Converts values to pixels."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._start = low, start
        self._scale = (end - start) / (high - low) if high > low else 0.0

    def __call__(self, value: float) -> float:
        return self._start + (value - self._low) * self._scale


def _choose_ticks(values: Sequence[float]) -> list[float]:
    """Return round values for a logarithmic axis: multiples of 1, 2 and 5 of powers of ten, or else both ends."""
    low, high = min(values), max(values)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    candidates = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
    ticks = [tick for tick in candidates if low <= tick <= high]
    return ticks[:: max(1, len(ticks) // MAX_TICKS)] if len(ticks) > 1 else [low, high]


def _draw_line(points: Sequence[tuple[float, float]]) -> str:
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _draw_step(x: float, text: str) -> str:
    return (
        f'<line class="step" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="step" x="{x + 4:.1f}" y="{TOP + 12}">{escape(text)}</text>'
    )


def _draw_x_tick(x: float, text: str, anchor: str = "middle") -> str:
    return (
        f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text text-anchor="{anchor}" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}">{escape(text)}</text>'
    )


def _draw_y_tick(y: float, text: str) -> str:
    return (
        f'<line class="tick" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{escape(text)}</text>'
    )


def _frame(name: str, summary: str, drawn: str, x_title: str, y_title: str) -> Markup:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    label = f"{escape(name)}. {escape(summary)}"
    return Markup(
        f'<svg class="drawing" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{drawn}"
        f'<text text-anchor="middle" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}">{escape(x_title)}</text>'
        f'<text text-anchor="middle" transform="translate(12 {middle}) rotate(-90)">{escape(y_title)}</text></svg>'
    )
