"""edgeproof schema | log: hand results to other tools, as a JSON Schema or through an experiment tracker."""

from __future__ import annotations

import argparse
import json
from typing import Any

from edgeproof.cli.output import show

TRACKERS = ("dvclive", "mlflow")
DOCUMENTS = {"record": "record.json of a run", "table": "table.json of a study or a benchmark"}


def add_commands(commands: Any) -> None:
    """Add `schema` and `log` to the command line's parser."""
    schema = commands.add_parser("schema", help="print the JSON Schema of records or tables, for other tools")
    described = ", ".join(f"'{name}': {document}" for name, document in DOCUMENTS.items())
    schema.add_argument("document", choices=list(DOCUMENTS), help=described)
    schema.set_defaults(function=_schema, needs_project=False)

    log = commands.add_parser("log", help="log a study's figures and tables to DVCLive or MLflow")
    log.add_argument("study", nargs="?", help="a study that has run (default: the one in conf/config.yaml)")
    log.add_argument("--to", choices=TRACKERS, required=True, help="the tracker, which must be installed")
    log.set_defaults(function=_log)


def _schema(arguments: argparse.Namespace) -> int:
    if arguments.document == "record":
        from edgeproof.records.record_schema import build_record_schema as build
    else:
        from edgeproof.report.table_schema import build_table_schema as build
    show(json.dumps(build(), indent=2, ensure_ascii=False))
    return 0


def _log(arguments: argparse.Namespace) -> int:
    from edgeproof.provenance import experiment_log

    log = experiment_log.collect_log(arguments.study)
    place = experiment_log.write_log(log, arguments.to)
    content = f"{len(log.metrics)} figures and {len(log.files)} files of study '{log.study}'"
    show(f"Logged {content} to {arguments.to}: {place}")
    return 0
