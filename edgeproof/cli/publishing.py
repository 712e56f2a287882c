"""The verbs that tell, query, reproduce and publish what was measured. Each imports what it needs when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import RECORDS, SITE

if TYPE_CHECKING:
    from edgeproof.records.store import State

CELL = "device/runtime/model/scheme, or whatever parts of it tell the cell from others"


def add_verbs(commands: Any) -> None:
    """Add the verbs to the command line's parser."""
    explain = commands.add_parser("explain", help="tell what a cell was made from, back to the data")
    explain.add_argument("cell", help=f"{CELL}; a figure's name at the end asks for its records")
    _records(explain)
    explain.set_defaults(function=_explain)

    reproduce = commands.add_parser("reproduce", help="build a cell's artifact again from the data, and measure it")
    reproduce.add_argument("cells", nargs="*", metavar="cell", help=CELL)
    reproduce.add_argument("--all", action="store_true", help="every cell that has records")
    reproduce.add_argument("--build-only", action="store_true", help="compare the artifact and measure nothing")
    _records(reproduce)
    reproduce.set_defaults(function=_reproduce)

    query = commands.add_parser("query", help="ask the records in SQL: the view 'records' has a line a record")
    query.add_argument("sql", help="one SELECT; 'FROM (DESCRIBE records)' lists the columns")
    query.add_argument("--format", choices=["table", "csv", "json"], default="table", help="(default: %(default)s)")
    query.add_argument("--as-is", action="store_true", help="ask the store without looking for new records")
    _records(query)
    query.set_defaults(function=_query)

    report = commands.add_parser("report", help="a comparison table of any selection, in any format")
    report.add_argument("name", nargs="?", help="a selection saved in conf/reports; the rest changes it")
    for part in ("devices", "runtimes", "models", "schemes", "scenarios"):
        report.add_argument(f"--{part}", type=_words, metavar="A,B", help=f"{part} to show (all when left out)")
    report.add_argument("--artifacts", type=_words, metavar="'M S,M S'", help="'model scheme' pairs to show")
    report.add_argument("--columns", type=_words, metavar="A,B", help="figures, in their order")
    report.add_argument("--rows", type=_words, metavar="A,B", help="what a line is of: device, model, runtime, scheme")
    report.add_argument("--across", type=_words, metavar="A,B", help="what stands side by side")
    report.add_argument(
        "--sort", type=_words, metavar="A,-B", help="parts or figures, as --sort=-p50; a minus: falling"
    )
    report.add_argument("--baseline", metavar="MODEL", help="the model whose fp32 others are compared with")
    report.add_argument("--title")
    report.add_argument("--format", choices=["markdown", "csv", "parquet", "latex", "html"], help="of what is printed")
    report.add_argument("--out", type=Path, help="file to write; its ending is the format")
    report.add_argument("--save", metavar="NAME", help="keep the selection as conf/reports/NAME.yaml")
    report.add_argument("--table", type=Path, help="take rows from a table.json instead of from records")
    report.add_argument("--as-is", action="store_true", help="ask the store without looking for new records")
    _records(report)
    report.set_defaults(function=_report)

    publish = commands.add_parser("publish", help="a static site with every saved table, from the records alone")
    publish.add_argument("--out", type=Path, default=SITE, help="directory to write (default: %(default)s)")
    publish.add_argument("--as-is", action="store_true", help="ask the store without looking for new records")
    _records(publish)
    publish.set_defaults(function=_publish)

    register = commands.add_parser("register", help="register a cell's artifact as a version, in GTO's git tags")
    register.add_argument("cell", help=CELL)
    register.add_argument("--stage", choices=["dev", "staging", "prod"], help="promote it there")
    register.add_argument("--version", help="such as v1.2.0; the next minor one when left out")
    _records(register)
    register.set_defaults(function=_register)

    bundle = commands.add_parser("bundle", help="everything a board needs to use a cell's artifact, signed, as a tar")
    bundle.add_argument("cell", help=CELL)
    bundle.add_argument("--out", type=Path, required=True, help="directory to write; the tar lies beside it")
    bundle.add_argument("--key", type=Path, help="Ed25519 private key that signs, such as ~/.ssh/id_ed25519")
    _records(bundle)
    bundle.set_defaults(function=_bundle)

    migrate = commands.add_parser("migrate", help="write records of an older schema anew in this version's")
    _records(migrate)
    migrate.set_defaults(function=_migrate)


def _records(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--records", type=Path, default=RECORDS, help="where the records lie (default: %(default)s)")


def _explain(arguments: argparse.Namespace) -> int:
    from edgeproof.provenance import cells, lineage

    print(lineage.explain(cells.find(arguments.cell, arguments.records), arguments.records))
    return 0


def _reproduce(arguments: argparse.Namespace) -> int:
    from edgeproof.provenance import cells
    from edgeproof.provenance import reproduce as provenance_reproduce

    if bool(arguments.cells) == arguments.all:
        raise EdgeproofError("name the cells to reproduce, or ask for every one with --all.")
    names = [str(cell) for cell in cells.everything(arguments.records)] if arguments.all else arguments.cells
    found = [cells.find(name, arguments.records) for name in names]
    same = 0
    for outcome in provenance_reproduce.reproduce(found, measure=not arguments.build_only):
        same += outcome.same
        print(outcome, flush=True)
    print(f"{same} of {len(found)} artifacts are identical.")
    return 0 if same == len(found) else 1


def _query(arguments: argparse.Namespace) -> int:
    from edgeproof.records import query_output, store

    code = 0 if arguments.as_is else refreshed(arguments.records)
    answer = store.ask(arguments.sql, arguments.records)
    print(query_output.shown(answer, arguments.format), end="")
    return code


def _report(arguments: argparse.Namespace) -> int:
    from edgeproof.config.params import checked
    from edgeproof.report import selections
    from edgeproof.report.formats import render
    from edgeproof.report.grids import grid
    from edgeproof.site import publish as site_publish

    keys = ("devices", "runtimes", "models", "schemes", "scenarios", "artifacts", "columns", "rows", "across", "sort")
    given = {key: getattr(arguments, key) for key in (*keys, "baseline", "title")}
    changes = {key: value for key, value in given.items() if value is not None}
    if arguments.name is None:
        chosen = checked(selections.Selection, changes, "the report asked for")
    else:
        chosen = selections.load(arguments.name, changes)
    code = 0 if arguments.as_is or arguments.table else refreshed(arguments.records)
    if arguments.table:
        rows = site_publish.rows_of_table(arguments.table)
        site_publish.check(chosen, site_publish.measured_in(rows))
    else:
        rows = site_publish.rows_for(chosen, arguments.records)
    table = grid(rows, chosen)
    if arguments.save:
        print(f"saved as {selections.save(chosen, arguments.save)}", file=sys.stderr)
    if arguments.out:
        site_publish.write(arguments.out, table, site_publish.form_of(arguments.out))
    elif chosen.into and arguments.format is None:
        site_publish.put_between(Path(chosen.into), table)
        print(f"{chosen.into} holds the table between its markers.")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(render(table, arguments.format or "markdown"))
    return code


def _publish(arguments: argparse.Namespace) -> int:
    from edgeproof.records import store
    from edgeproof.site import publish as site_publish

    state = store.held(arguments.records) if arguments.as_is else store.refresh(arguments.records)
    tables, pages = site_publish.publish(arguments.records, arguments.out, state)
    print(f"{arguments.out / 'index.html'}: {pages} pages and {tables} tables from {state.records} records.")
    return told_state(state)


def _register(arguments: argparse.Namespace) -> int:
    from edgeproof.provenance import cells, releases

    found = cells.find(arguments.cell, arguments.records)
    print(*releases.register(found, arguments.records, stage=arguments.stage, version=arguments.version), sep="\n")
    return 0


def _bundle(arguments: argparse.Namespace) -> int:
    from edgeproof.provenance import bundle, cells

    found = cells.find(arguments.cell, arguments.records)
    signer = bundle.bundle(found, arguments.records, arguments.out, key=arguments.key)
    signed = "not signed (name a key with --key)" if signer is None else f"signed by {signer}"
    print(f"{arguments.out} and {arguments.out}.tar, {signed}.")
    option = "" if signer is None else f" --signer {signer}"
    print(f"On the board: tar xf {arguments.out.name}.tar && python3 {arguments.out.name}/run.pyz --check{option}")
    return 0


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _migrate(arguments: argparse.Namespace) -> int:
    from edgeproof.records import migrate as records_migrate

    damaged: list[str] = []
    for session, count in records_migrate.migrate(arguments.records, damaged):
        print(f"{session}: {count} record(s) written in this version's schema")
    return told_damaged(damaged)


def refreshed(root: Path) -> int:
    """Bring the store up to date; the exit code that says whether a record was left out, each of them named."""
    from edgeproof.records import store

    return told_state(store.refresh(root))


def told_state(state: State) -> int:
    """Say what is wrong with records; 1 where any was left out."""
    if state.older:
        print(
            f"{state.older} record(s) are of an older schema and were read as this version's; 'edgeproof migrate' "
            "writes them anew.",
            file=sys.stderr,
        )
    return told_damaged(state.damaged)


def told_damaged(damaged: Sequence[str]) -> int:
    """Name the damaged records; 1 where there are any."""
    for line in damaged:
        print(f"left out: {line}", file=sys.stderr)
    if damaged:
        print(f"{len(damaged)} damaged record(s) left out.", file=sys.stderr)
    return 1 if damaged else 0
