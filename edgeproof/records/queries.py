"""Query the store in SQL.

from edgeproof.records import queries
frame = queries.ask("SELECT model, runtime, exp(avg(p50_log)) / 1000 AS p50_us FROM records GROUP BY ALL").df()
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import RECORDS
from edgeproof.records import query_limits
from edgeproof.records.columns import StoreLine, list_columns, sql_types
from edgeproof.records.parquet_parts import quote
from edgeproof.records.query_limits import TIMEOUT_S
from edgeproof.records.store import locate
from edgeproof.records.store_snapshot import list_files, open_snapshot
from edgeproof.records.summaries import TELEMETRY_FIGURES

BATCH_LINES = 10_000
# Columns that report.rows doesn't use, so that they need not be read.
_UNUSED_BY_ROWS = (
    *("fingerprint", "quantiles_ns", "options", "packages", "runner", "data_sha256", "lineage", "network"),
    *("validation_quality", "inferences", "profile", *TELEMETRY_FIGURES),
)


def ask(sql: str, root: Path = RECORDS, *, timeout_s: float = TIMEOUT_S) -> duckdb.DuckDBPyConnection:
    """Answer a query over the view `records`, which has one line per record.

    The view `columns` describes the columns. Of the result, `.df()` is a pandas DataFrame and `.fetchall()` a list of
    tuples. The store is queried as it is; `store.refresh` updates it. The query can read nothing but the store, and
    write nothing but its own temporary files, which `close` removes. It may use query_limits.MEMORY_LIMIT of memory and
    query_limits.SPILL_LIMIT of temporary files. After `timeout_s`, fetching raises duckdb.InterruptException.

    Raises EdgeproofError with DuckDB's message for a query that is not one SELECT or that fails.
    """
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise EdgeproofError("the query is not valid UTF-8. Type it again, or check the terminal's encoding.") from None
    scratch = query_limits.create_scratch()
    connection = query_limits.open_connection(scratch)
    snapshot = open_snapshot(locate(root))
    copy = scratch / "store"
    if snapshot is not None:
        snapshot.copy_to(copy)  # DuckDB allows files by their real names, which change when the store is replaced
        snapshot.close()
    _create_views(connection, list_files(copy))
    query_limits.lock(connection, copy)
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise EdgeproofError("a query is one SELECT over the view 'records'; 'FROM columns' lists its columns.")
        query_limits.interrupt_after(connection, timeout_s)
        return connection.execute(statements[0].query)
    except duckdb.Error as error:
        raise query_limits.translate_error(error, timeout_s) from None


def connect(place: Path) -> duckdb.DuckDBPyConnection:
    """Return a connection with the views `records` and `columns`. Without a store, `records` is empty.

    `place` is the directory of the store. The connection sees the store as it is now, even if it is replaced later.
    """
    connection = query_limits.open_connection(query_limits.create_scratch())
    snapshot = open_snapshot(place)
    if snapshot is not None:
        weakref.finalize(connection, snapshot.close)
    _create_views(connection, [] if snapshot is None else list_files(snapshot.directory))
    return connection


def fetch_rows(root: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query of edgeproof's own over the store of the records in `root`."""
    return connect(locate(root)).execute(sql).fetchall()


def _create_views(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    nulls = ", ".join(f"NULL::{sql_type} AS {name}" for name, sql_type in sql_types().items())
    paths = ", ".join(f"'{quote(path)}'" for path in files)
    source = f"read_parquet([{paths}], hive_partitioning = false)" if files else f"(SELECT {nulls} LIMIT 0)"
    connection.execute(f"CREATE VIEW records AS FROM {source}")
    described = ", ".join(
        "('{}', '{}', '{}')".format(column.name, column.sql_type, column.description.replace("'", "''"))
        for column in list_columns()
    )
    connection.execute(f"CREATE VIEW columns AS FROM (VALUES {described}) AS c(name, type, description)")


def read_last_sessions(root: Path, *, order: Mapping[str, Sequence[str]]) -> list[StoreLine]:
    """Return the lines of every cell's last session, and the harness's lines of these sessions, sorted by path.

    `report.rows.build_rows` takes these lines.

    Args:
        root: the directory of the records.
        order: the 'devices', 'models' and 'runtimes' to read.
    """
    selected: dict[str, list[str]] = {kind: list(order[f"{kind}s"]) for kind in ("device", "runtime", "model")}
    conditions = " AND ".join(f"list_contains(${kind}, {kind})" for kind in selected)
    columns = ", ".join(f"NULL AS {name}" if name in _UNUSED_BY_ROWS else name for name in sql_types())
    answer = connect(locate(root)).execute(
        f"""WITH cells AS (
                SELECT device, runtime, model, scheme,
                       arg_max({{'key': session_key, 'id': session_id}}, measured_at) AS last
                FROM records WHERE runtime <> 'null' AND {conditions} GROUP BY ALL),
            sessions AS (SELECT DISTINCT last.key AS session_key, last.id AS session_id FROM cells)
            SELECT {columns} FROM records r SEMI JOIN cells c
                ON r.device = c.device AND r.runtime = c.runtime AND r.model = c.model AND r.scheme = c.scheme
                AND r.session_key = c.last.key AND r.session_id = c.last.id
            UNION ALL
            SELECT {columns} FROM records r SEMI JOIN sessions s
                ON r.session_key = s.session_key AND r.session_id = s.session_id
                WHERE r.runtime = 'null'""",
        selected,
    )
    batches = iter(lambda: answer.fetchmany(BATCH_LINES), [])
    lines = [StoreLine.from_values(values) for batch in batches for values in batch]
    return sorted(lines, key=lambda line: line.path.split("/"))


def read_process_medians(
    root: Path,
    where: str = "true",
    values: Mapping[str, Any] | None = None,
    *,
    extra_columns: Sequence[str] = ("conditions", "versions"),
) -> list[tuple[Any, ...]]:
    """Return the single-stream medians of every cell's sessions, one per process, in order of time.

    Of repeated runs the last attempt counts, and only if it is valid.

    Args:
        root: the directory of the records.
        where: an SQL condition on the columns. It must not come from a user.
        values: the parameters of `where`.
        extra_columns: columns of one of the runs to return as well. They must not come from a user.

    Returns:
        Tuples of night, device, runtime, model, scheme, session key, session id, the extra columns, and a list of
        (process, natural logarithm of the median in ns).
    """
    last_values = "".join(f", '{name}': {name}" for name in extra_columns)
    any_values = "".join(f"any_value(last.{name}), " for name in extra_columns)
    sql = f"""
        WITH runs AS (
            SELECT night, device, runtime, model, scheme, session_key, session_id, scenario, process,
                   arg_max({{'log': CASE WHEN verdict = 'valid' THEN p50_log END{last_values}}}, attempt) AS last
            FROM records
            WHERE loadgen_scenario = 'SingleStream' AND scenario <> 'accuracy' AND compliance IS NULL
                AND runtime <> 'null' AND {where}
            GROUP BY ALL)
        SELECT night, device, runtime, model, scheme, session_key, session_id,
               {any_values}list((process, last.log) ORDER BY process)
        FROM runs WHERE last.log IS NOT NULL
        GROUP BY ALL ORDER BY ALL"""
    return connect(locate(root)).execute(sql, dict(values or {})).fetchall()


def list_names(root: Path) -> dict[str, list[str]]:
    """Return the 'devices', 'models', 'runtimes' and 'schemes' that have records, without the null runtime's."""
    cells = (
        connect(locate(root))
        .execute("SELECT DISTINCT device, model, runtime, scheme FROM records WHERE runtime <> 'null'")
        .fetchall()
    )
    kinds = ("devices", "models", "runtimes", "schemes")
    return {kind: sorted({cell[index] for cell in cells}) for index, kind in enumerate(kinds)}
