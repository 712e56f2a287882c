"""Write a table to a file of its own, or into a Markdown file such as README.md.

`edgeproof report readme` writes the table in README.md: conf/reports/readme.yaml defines its rows and columns, and
`insert_table` puts it between the markers.
"""

from __future__ import annotations

from pathlib import Path

from edgeproof.core.directories import write_bytes, write_text
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.report.formats import FORMATS, render
from edgeproof.report.formats.markdown import render_block
from edgeproof.report.grids import Grid

BEGIN_MARKER, END_MARKER = "<!-- table: begin -->", "<!-- table: end -->"


def write_table(path: Path, table: Grid, form: str) -> None:
    """Write a table to a file, completely or not at all."""
    write_bytes(path, render(table, form))


def find_format(path: Path) -> str:
    """Return the format for a file's suffix. Raises ConfigError for an unknown suffix."""
    forms = {module.SUFFIX: form for form, module in FORMATS.items()}
    if path.suffix not in forms:
        raise ConfigError(f"{path}: no format has the suffix '{path.suffix}'. Known: {', '.join(sorted(forms))}.")
    return forms[path.suffix]


def insert_table(path: Path, table: Grid) -> None:
    """Replace the text between the markers of a Markdown file with a table.

    Raises ConfigError when a marker is missing, and EdgeproofError for a table without lines, which would erase the
    table in the file.
    """
    if not table.lines:
        raise EdgeproofError(f"no records match the table of {path}, so the file was not changed.")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    before, _, rest = text.partition(BEGIN_MARKER)
    _, end, after = rest.partition(END_MARKER)
    if not end:
        raise ConfigError(f"{path} has no {BEGIN_MARKER} followed by {END_MARKER}. Add both where the table belongs.")
    write_text(path, f"{before}{BEGIN_MARKER}\n{render_block(table)}{END_MARKER}{after}")
