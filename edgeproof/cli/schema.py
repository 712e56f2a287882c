"""edgeproof schema: print the JSON Schema of records and of tables, for other tools."""

from __future__ import annotations

import argparse
import json
from typing import Any

from edgeproof.cli.output import show

DOCUMENTS = {"record": "record.json of a run", "table": "table.json of a study or a benchmark"}


def add_commands(commands: Any) -> None:
    """Add `schema` to the command line's parser."""
    schema = commands.add_parser("schema", help="print the JSON Schema of records or tables, for other tools")
    described = ", ".join(f"'{name}': {document}" for name, document in DOCUMENTS.items())
    schema.add_argument("document", choices=list(DOCUMENTS), help=described)
    schema.set_defaults(function=_schema, needs_project=False)


def _schema(arguments: argparse.Namespace) -> int:
    if arguments.document == "record":
        from edgeproof.records.record_schema import build_record_schema as build
    else:
        from edgeproof.report.table_schema import build_table_schema as build
    show(json.dumps(build(), indent=2, ensure_ascii=False))
    return 0
