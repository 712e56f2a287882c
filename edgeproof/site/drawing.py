"""Small drawings in SVG without any script: a latency's distribution and a series of nights, in the page's colours."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from edgeproof.records.summaries import SHARES
from edgeproof.statistics.change_points import Step

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 40
# A single slow call would push the rest of the distribution into a corner.
LAST_SHARE = 0.999


def distribution(processes: Sequence[Sequence[float]], name: str) -> Markup:
    """The share of inferences that took at most so long, a line a process, time on a logarithmic axis.

    `processes` holds each process's quantiles in ns at summaries.SHARES.
    """
    shown = [(share, place) for place, share in enumerate(SHARES) if share <= LAST_SHARE]
    times = [of[place] / 1000 for of in processes for _, place in shown if of[place] > 0]
    if not times:
        return Markup("")
    x = _Axis(math.log(min(times)), math.log(max(times)), LEFT, WIDTH - RIGHT)
    y = _Axis(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    lines = "".join(
        _line([(x(math.log(of[place] / 1000)), y(share)) for share, place in shown if of[place] > 0])
        for of in processes
    )
    ticks = "".join(_below(x(math.log(value)), f"{value:,.4g}") for value in _ticks(min(times), max(times)))
    ticks += "".join(_beside(y(share), f"{share:.0%}") for share in (0, 0.5, 0.9, 1))
    middle = sorted(of[SHARES.index(0.5)] / 1000 for of in processes)
    told = f"{len(processes)} process(es); medians from {middle[0]:,.4g} to {middle[-1]:,.4g} µs."
    return _framed(name, told, ticks + lines, "µs an inference", "inferences")


def series(nights: Sequence[str], values_us: Sequence[float], steps: Sequence[Step], name: str) -> Markup:
    """A median by night, with a line where it steps. Empty with fewer than two nights."""
    if len(values_us) < 2:
        return Markup("")
    low, high = min(values_us), max(values_us)
    room = 0.1 * (high - low) or 0.05 * high
    x = _Axis(0, len(nights) - 1, LEFT + 12, WIDTH - RIGHT - 12)
    y = _Axis(low - room, high + room, HEIGHT - BOTTOM, TOP)
    points = [(x(n), y(value)) for n, value in enumerate(values_us)]
    drawn = _line(points) + "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in points)
    ticks = _below(x(0), nights[0]) + _below(x(len(nights) - 1), nights[-1], "end")
    ticks += "".join(_beside(y(value), f"{value:,.4g}") for value in sorted({low, high}))
    told = [f"{len(nights)} nights from {values_us[0]:,.4g} to {values_us[-1]:,.4g} µs."]
    for step in steps:
        place = x(step.place - 0.5)
        drawn += f'<line class="step" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        drawn += f'<text class="step" x="{place + 4:.1f}" y="{TOP + 12}">{100 * (step.ratio - 1):+.1f}%</text>'
        told.append(f"On {nights[step.place]} it steps by {100 * (step.ratio - 1):+.1f}%.")
    return _framed(name, " ".join(told), ticks + drawn, "night", "median, µs")


class _Axis:
    """Values to pixels."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._start = low, start
        self._scale = (end - start) / (high - low) if high > low else 0.0

    def __call__(self, value: float) -> float:
        return self._start + (value - self._low) * self._scale


def _ticks(low: float, high: float) -> list[float]:
    """Round values of a logarithmic axis: those of 1, 2, 5 within it, or else its ends."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [by * 10.0**decade for decade in decades for by in (1, 2, 5) if low <= by * 10.0**decade <= high]
    return found[:: max(1, len(found) // 6)] if len(found) > 1 else [low, high]


def _line(points: Sequence[tuple[float, float]]) -> str:
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _below(x: float, text: str, anchor: str = "middle") -> str:
    return (
        f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text text-anchor="{anchor}" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}">{escape(text)}</text>'
    )


def _beside(y: float, text: str) -> str:
    return (
        f'<line class="tick" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{escape(text)}</text>'
    )


def _framed(name: str, told: str, drawn: str, below: str, beside: str) -> Markup:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return Markup(
        f'<svg class="drawing" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}. {escape(told)}">'
        f"{drawn}"
        f'<text text-anchor="middle" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}">{escape(below)}</text>'
        f'<text text-anchor="middle" transform="translate(12 {middle}) rotate(-90)">{escape(beside)}</text></svg>'
    )
