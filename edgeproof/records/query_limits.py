"""Connections to DuckDB with limits: memory, temporary files, access to files, and time."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import weakref
from pathlib import Path

import duckdb

from edgeproof.core.errors import EdgeproofError, suggest_nearest, summarize_error
from edgeproof.records.columns import list_columns

MEMORY_LIMIT = "512MB"
# The limit of a query's temporary files, to which DuckDB writes what does not fit into memory.
SPILL_LIMIT = "1GB"
TIMEOUT_S = 60.0
# DuckDB's messages for a column that no table of the query has.
UNKNOWN_COLUMN = re.compile(r'(?:Referenced column|does not have a column named) "([^"]+)"')


def create_scratch() -> Path:
    """Create a private directory for temporary files."""
    return Path(tempfile.mkdtemp(prefix="edgeproof-query-"))


def open_connection(scratch: Path) -> duckdb.DuckDBPyConnection:
    """Return a connection to an empty database in memory, with limits of memory and of temporary files.

    Temporary files lie in the directory `scratch`, which is removed when the connection is deleted.
    """
    connection = duckdb.connect()
    weakref.finalize(connection, shutil.rmtree, scratch, ignore_errors=True)
    settings = {
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": str(scratch / "spill").replace("'", "''"),
        "max_temp_directory_size": SPILL_LIMIT,
    }
    for name, value in settings.items():
        connection.execute(f"SET {name} = '{value}'")
    # In a notebook without ipywidgets, DuckDB refuses this setting. There it is off already.
    if connection.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (True,):
        connection.execute("SET enable_progress_bar = false")
    return connection


def lock(connection: duckdb.DuckDBPyConnection, readable: Path) -> None:
    """Forbid access to all files but those in the directory `readable`, and every change of a setting."""
    directory = str(readable).replace("'", "''")
    for setting in (
        f"allowed_directories = ['{directory}']",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")


def interrupt_after(connection: duckdb.DuckDBPyConnection, timeout_s: float) -> None:
    """Interrupt whatever runs on the connection after some seconds, unless it is deleted before."""
    reference = weakref.ref(connection)

    def interrupt() -> None:
        if (alive := reference()) is not None:
            alive.interrupt()

    timer = threading.Timer(timeout_s, interrupt)
    timer.daemon = True
    weakref.finalize(connection, timer.cancel)
    timer.start()


def translate_error(error: duckdb.Error, timeout_s: float) -> EdgeproofError:
    """Return DuckDB's error as one message that says what to do."""
    if isinstance(error, duckdb.InterruptException):
        return EdgeproofError(f"the query was ended after {timeout_s:g} s. Simplify it, or set a longer --timeout-s.")
    if isinstance(error, duckdb.OutOfMemoryException):
        return EdgeproofError(
            f"the query needs more than {MEMORY_LIMIT} of memory and {SPILL_LIMIT} of temporary files. Select fewer "
            f"columns or lines. DuckDB: {summarize_error(error)}"
        )
    if (unknown := UNKNOWN_COLUMN.search(str(error))) is not None:
        return _describe_unknown_column(unknown[1], str(error))
    return EdgeproofError(f"the query failed: {error}")


def _describe_unknown_column(name: str, message: str) -> EdgeproofError:
    """Return an error with the nearest column of the view 'records'. DuckDB's own candidates are often far away."""
    nearest = suggest_nearest(name.lower(), [column.name for column in list_columns()])
    place = message.partition("\n\n")[2]
    return EdgeproofError(
        f"the query failed: there is no column '{name}' here.{nearest} "
        f'All columns: edgeproof query "FROM columns"{place and chr(10)}{place}'
    )
