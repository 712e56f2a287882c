"""Find the two cells that an explanation compares: artifacts of one model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance.cells import CellRecords, find_cell
from edgeproof.report.figures import choose_figure
from edgeproof.report.row import Row


class CellPair(NamedTuple):
    """Two cells of one model, with their rows."""

    a: CellRecords
    b: CellRecords
    row_a: Row
    row_b: Row

    def describe(self, figure_name: str) -> list[str]:
        """Return a line for each cell with one of its figures."""
        figure = choose_figure(figure_name, [self.row_a, self.row_b])
        lines = []
        for letter, cell, row in (("A", self.a, self.row_a), ("B", self.b, self.row_b)):
            text = f"{figure.format_row_cell(row)} {figure.unit}" if figure.get_value(row) is not None else "unknown"
            lines.append(f"{letter}: {cell.address}: {figure.heading} {text}".rstrip())
        return lines


def find_pair(a: str, b: str, root: Path) -> CellPair:
    """Return the cells that two names mean. Raises EdgeproofError unless they are two artifacts of one model."""
    cells = find_cell(a, root), find_cell(b, root)
    addresses = [cell.address for cell in cells]
    if addresses[0] == addresses[1]:
        raise EdgeproofError(f"'{a}' and '{b}' are the same cell, {addresses[0]}. Name two artifacts of one model.")
    if addresses[0].model != addresses[1].model:
        raise EdgeproofError(
            f"{addresses[0]} and {addresses[1]} are of different models, so their layers don't correspond. "
            "Name two artifacts of one model, or test the difference with 'edgeproof compare'."
        )
    return CellPair(*cells, *(cell.build_row(root) for cell in cells))
