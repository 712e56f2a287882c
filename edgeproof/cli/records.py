"""edgeproof query | migrate: query the records in SQL, and rewrite records of an older schema."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof.cli.options import add_as_is_option, add_records_option, parse_number
from edgeproof.cli.output import show

if TYPE_CHECKING:
    from edgeproof.records.store import StoreState

MAX_TIMEOUT_S = 86_400


def add_commands(commands: Any) -> None:
    """Add `query` and `migrate` to the command line's parser."""
    query = commands.add_parser("query", help="query the records in SQL; the view 'records' has a row for each record")
    query.add_argument("sql", help="one SELECT statement; 'FROM (DESCRIBE records)' lists the columns")
    query.add_argument(
        "--format", choices=["table", "csv", "json"], default="table", help="output format (default: %(default)s)"
    )
    query.add_argument(
        "--timeout-s",
        type=_parse_timeout,
        default=60.0,
        metavar="SECONDS",
        help="end the query after this time (default: %(default)g). A query may use 512 MB of memory and 1 GB of "
        "temporary files, which are removed afterwards, and may return 1,000,000 rows",
    )
    add_as_is_option(query)
    add_records_option(query)
    query.set_defaults(function=_query)

    migrate = commands.add_parser("migrate", help="rewrite records of an older schema in the current one")
    add_records_option(migrate)
    migrate.set_defaults(function=_migrate)


def _query(arguments: argparse.Namespace) -> int:
    from edgeproof.records import queries, query_output

    code = 0 if arguments.as_is else refresh_store(arguments.records)
    answer = queries.ask(arguments.sql, arguments.records, timeout_s=arguments.timeout_s)
    show(query_output.format_answer(answer, arguments.format, timeout_s=arguments.timeout_s), end="")
    return code


def _migrate(arguments: argparse.Namespace) -> int:
    from edgeproof.records import session_migration

    damaged: list[str] = []
    for session, count in session_migration.migrate_sessions(arguments.records, damaged):
        show(f"{session}: rewrote {count} record(s) in the current schema")
    return report_damaged(damaged)


def refresh_store(root: Path) -> int:
    """Bring the store of records up to date and report damaged records; return 1 if there are any, else 0."""
    from edgeproof.records import store

    return report_state(store.refresh(root))


def report_state(state: StoreState) -> int:
    """Report records that are damaged or have an older schema on stderr; return 1 if any is damaged, else 0."""
    if state.older:
        show(
            f"{state.older} record(s) have an older schema and were converted while reading. "
            "'edgeproof migrate' rewrites them.",
            file=sys.stderr,
        )
    return report_damaged(state.damaged)


def report_damaged(damaged: Sequence[str]) -> int:
    """List damaged records on stderr; return 1 if there are any, else 0."""
    for reason in damaged:
        show(f"skipped: {reason}", file=sys.stderr)
    if damaged:
        show(f"Skipped {len(damaged)} damaged record(s).", file=sys.stderr)
    return 1 if damaged else 0


def _parse_timeout(text: str) -> float:
    expected = f"a number of seconds from above 0 to {MAX_TIMEOUT_S:,}"
    seconds = parse_number(text, expected)
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
    return seconds
