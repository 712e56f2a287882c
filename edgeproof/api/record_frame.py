"""Read records as a pandas DataFrame."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from edgeproof.api.calls import prepare_call

if TYPE_CHECKING:
    import pandas as pd


def records(root: str | Path | None = None, query: str | None = None) -> pd.DataFrame:
    """Return records as a pandas DataFrame, or the answer to an SQL query over them.

    Args:
        root: the directory of the records; by default results/records of the project. `Table.records` is another one.
        query: one SELECT over the view `records`, such as "SELECT model, exp(p50_log) AS p50_ns FROM records". The view
            `columns` describes the columns. By default all columns of all records.

    Raises:
        EdgeproofError: there are no records, or the query fails.

    Warns of damaged records, which are left out.
    """
    with prepare_call(needs_project=root is None):
        import duckdb

        from edgeproof.core.errors import EdgeproofError
        from edgeproof.paths import RECORDS
        from edgeproof.records import queries, query_limits, store

        place = RECORDS if root is None else Path(root)
        if not place.is_dir():
            raise EdgeproofError(
                f"{place} does not exist. Measure with 'edgeproof repro', or name a directory: records(root=…)."
            )
        state = store.refresh(place)
        answer = queries.ask("SELECT * FROM records" if query is None else query, place)
        try:
            frame = answer.df()
        except duckdb.Error as error:
            raise query_limits.translate_error(error, query_limits.TIMEOUT_S) from None
    if state.damaged:
        warnings.warn(f"left out {len(state.damaged)} damaged record(s): {state.damaged[0]}", stacklevel=2)
    return frame
