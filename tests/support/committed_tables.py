"""The rows of the results table that README.md may show."""

from __future__ import annotations

import subprocess
from pathlib import Path


def list_tables(root: Path) -> list[str]:
    """Return the content of each table.json whose rows README.md may show: at HEAD, and in the working tree.

    A new measurement changes only the latter. An export without .git has no other.
    """
    path = "results/tables/table.json"
    tables = [(root / path).read_text(encoding="utf-8")]
    if (root / ".git").exists():
        command = ["git", "show", f"HEAD:{path}"]
        tables.insert(0, subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout)
    return tables
