"""Run the code cells of a notebook in this process, without Jupyter."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any


def read_cells(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook with their source as text."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells]


def run_cells(path: Path) -> list[Any]:
    """Run all code cells in order and return the value of each one's last expression, as a notebook shows it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    return [run_cell(cell["source"], names) for cell in read_cells(path) if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run one cell with these names and return the value of its last expression, or None if it ends otherwise."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
