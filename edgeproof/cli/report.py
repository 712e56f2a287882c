"""edgeproof report | publish: print or save one table, summarize changes, and write the site with all saved tables."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof.cli.options import add_as_is_option, add_records_option, split_names
from edgeproof.cli.output import show
from edgeproof.cli.records import refresh_store, report_state
from edgeproof.core.errors import ConfigError
from edgeproof.paths import SITE, TABLES

if TYPE_CHECKING:
    from edgeproof.report.row import Row
    from edgeproof.report.selections import Selection

AXES = ("devices", "runtimes", "models", "schemes", "scenarios")
SELECTION_OPTIONS = (*AXES, "artifacts", "placement", "columns", "rows", "across", "sort", "baseline", "title")
# The report of what changed since another revision, for pull requests.
CHANGES = "pr"


def add_commands(commands: Any) -> None:
    """Add `report` and `publish` to the command line's parser."""
    report = commands.add_parser("report", help="print a table of any selection of the results, in any format")
    report.add_argument(
        "name",
        nargs="?",
        help="a selection saved in conf/reports; other options change it. 'pr' summarizes what changed in the table",
    )
    for axis in AXES:
        report.add_argument(f"--{axis}", type=split_names, metavar="A,B", help=f"{axis} to show (default: all)")
    report.add_argument(
        "--artifacts", type=split_names, metavar="'M S,M S'", help="'model scheme' pairs to show (default: all)"
    )
    report.add_argument(
        "--placement",
        choices=["complete", "partial"],
        help="show artifacts whose operators all run on the expected unit, or those with fallbacks",
    )
    report.add_argument("--columns", type=split_names, metavar="A,B", help="figures to show, in this order")
    report.add_argument(
        "--rows", type=split_names, metavar="A,B", help="one row for each combination of device, model, runtime, scheme"
    )
    report.add_argument("--across", type=split_names, metavar="A,B", help="repeat the columns for each value of these")
    report.add_argument(
        "--sort", type=split_names, metavar="A,-B", help="sort by these; '-' means descending, as in --sort=-p50"
    )
    report.add_argument("--baseline", metavar="MODEL", help="compare with the fp32 artifact of this model")
    report.add_argument("--title", help="title of the table")
    report.add_argument(
        "--format",
        choices=["markdown", "csv", "parquet", "latex", "html"],
        help="format to print (default: a table that fits the terminal)",
    )
    report.add_argument("--out", type=Path, help="file to write; its suffix selects the format")
    report.add_argument("--save", metavar="NAME", help="save the selection as conf/reports/NAME.yaml")
    report.add_argument("--table", type=Path, help="read the rows from this table.json instead of the records")
    report.add_argument(
        "--against", metavar="REVISION", help="with 'pr': what to compare the table with (default: main)"
    )
    add_as_is_option(report)
    add_records_option(report)
    report.set_defaults(function=_report)

    publish = commands.add_parser("publish", help="write a static site with every saved table, from the records alone")
    publish.add_argument("--out", type=Path, default=SITE, help="directory to write (default: %(default)s)")
    add_as_is_option(publish)
    add_records_option(publish)
    publish.set_defaults(function=_publish)


def _report(arguments: argparse.Namespace) -> int:
    if arguments.name == CHANGES:
        return _report_changes(arguments)
    _refuse_misplaced_options(arguments)
    from edgeproof.report import selections, table_files, terminal_grid
    from edgeproof.report.formats import render
    from edgeproof.report.grids import build_grid

    chosen = _select(arguments)
    code = 0 if arguments.as_is or arguments.table else refresh_store(arguments.records)
    table = build_grid(_read_rows(arguments, chosen), chosen)
    if arguments.save:
        show(f"Saved the selection as {selections.save(chosen, arguments.save)}.", file=sys.stderr)
    if arguments.out:
        table_files.write_table(arguments.out, table, table_files.find_format(arguments.out))
    elif chosen.into and arguments.format is None:
        table_files.insert_table(Path(chosen.into), table)
        show(f"Wrote the table between the markers in {chosen.into}.")
    elif arguments.format is None:
        terminal_grid.print_grid(table)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(render(table, arguments.format))
    if arguments.columns and table.left_out:
        show(f"No row has a value of: {', '.join(table.left_out)}.", file=sys.stderr)
    return code


def _report_changes(arguments: argparse.Namespace) -> int:
    """Print or write what changed in a table since another revision, as GitHub's Markdown."""
    from edgeproof.core.directories import write_text
    from edgeproof.provenance import committed_table, pull_request, table_changes
    from edgeproof.report import table_json

    given = [name for name in (*SELECTION_OPTIONS, "format", "save") if getattr(arguments, name) is not None]
    if given:
        raise ConfigError(f"'edgeproof report pr' takes --against, --table and --out only. Leave out --{given[0]}.")
    path, against = arguments.table or TABLES / "table.json", arguments.against or "main"
    after = table_json.read_table_rows(path)
    before = committed_table.read_committed_table(path, against)
    changes = table_changes.compare_tables(before.rows, after)
    missing = "" if before.exists else ", which has no such table"
    name = f"{against} ({before.commit[:7]}{missing})"
    summary = pull_request.format_summary(changes, table=path.as_posix(), against=name)
    if arguments.out:
        write_text(arguments.out, summary)
    else:
        show(summary, end="")
    return 0


def _refuse_misplaced_options(arguments: argparse.Namespace) -> None:
    if arguments.against is not None:
        raise ConfigError("--against belongs to 'edgeproof report pr', which compares a table with another revision.")
    if arguments.save == CHANGES:
        raise ConfigError(f"a report cannot be called '{CHANGES}': 'edgeproof report {CHANGES}' shows what changed.")


def _select(arguments: argparse.Namespace) -> Selection:
    """Return the saved or default selection, changed by the options given."""
    from edgeproof.config.validation import validate
    from edgeproof.report import selections

    given = {key: getattr(arguments, key) for key in SELECTION_OPTIONS}
    changes = {key: value for key, value in given.items() if value is not None}
    if arguments.name is None:
        return validate(selections.Selection, changes, "the report's options")
    return selections.load(arguments.name, changes)


def _read_rows(arguments: argparse.Namespace, chosen: Selection) -> list[Row]:
    """Read the rows of the selection from the table.json given, or else from the records."""
    from edgeproof.report import selected_rows, table_json

    if not arguments.table:
        return selected_rows.select_rows(chosen, arguments.records)
    rows = table_json.read_table_rows(arguments.table)
    selected_rows.check_selection(chosen, selected_rows.list_measured(rows))
    return rows


def _publish(arguments: argparse.Namespace) -> int:
    from edgeproof.records import store
    from edgeproof.site import publish

    state = store.read_state(arguments.records) if arguments.as_is else store.refresh(arguments.records)
    tables, pages = publish.publish(arguments.records, arguments.out, state)
    show(f"{arguments.out / 'index.html'}: {pages} pages and {tables} tables from {state.records} records.")
    return report_state(state)
