"""Draw plots as SVG files that are byte-identical for the same content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

WIDTH_INCHES, PANEL_HEIGHT_INCHES = 8, 4.6


@contextmanager
def draw_svg(path: Path, *, panels: int = 1) -> Iterator[Figure]:
    """Yield a figure with room for the panels, one above the other, and write it to the file `path` at the end."""
    with mpl.rc_context({"svg.hashsalt": "edgeproof", "font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=(WIDTH_INCHES, PANEL_HEIGHT_INCHES * panels), layout="constrained")
        yield figure
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
