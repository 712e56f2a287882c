"""A results table as Python reads it: rows, pandas, Markdown, and HTML in notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from edgeproof.report.grids import Grid
    from edgeproof.report.row import Row


@dataclass(frozen=True, repr=False)
class Table:
    """The table of a benchmark or of a study. A notebook shows its main columns.

    Attributes:
        name: the name of the benchmark or of the study.
        rows: one for each artifact on each device, with all figures. A figure that is missing is None, and the row's
            `verdict` and `reasons` say why.
        directory: where table.md, table.csv and table.json are.
        records: the directory of the records, which `compare` and `records` take as `root`.
    """

    name: str
    rows: Sequence[Row]
    directory: Path
    records: Path

    @classmethod
    def read(cls, directory: Path | str, *, records: Path | str | None = None) -> Table:
        """Return the table in a directory that holds a table.json. Raises ConfigError if there is none."""
        from edgeproof.report import table_json

        place = Path(directory)
        name, rows = table_json.read_table(place / "table.json")
        return cls(name, tuple(rows), place, place.parent / "records" if records is None else Path(records))

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with a line for each row and the columns of table.csv, with units in their names.

        An estimate has three columns: name, name_low and name_high.
        """
        import pandas as pd

        from edgeproof.report.row_data import flatten_row

        return pd.DataFrame([flatten_row(row) for row in self.rows])

    def to_markdown(self) -> str:
        """Return the main columns as a Markdown table, with the reasons of refusals and an explanation."""
        from edgeproof.report.formats import markdown

        return markdown.render_block(self._build_grid())

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return self.to_markdown()

    def __repr__(self) -> str:
        valid = sum(row.verdict == "valid" for row in self.rows)
        return f"<Table '{self.name}': {len(self.rows)} rows, {valid} valid, {self.directory}>"

    def _repr_html_(self) -> str:
        from edgeproof.report.formats import html

        prefix = f"{self.name}-"
        return html.render_table(self._build_grid(), prefix if prefix.replace("-", "").isidentifier() else "")

    def _build_grid(self) -> Grid:
        from edgeproof.report.grids import build_grid
        from edgeproof.report.selections import Selection

        return build_grid(self.rows, Selection(title=self.name))
