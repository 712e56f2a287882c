"""edgeproof submit | validate: write an MLPerf submission from official records, and check one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgeproof.cli.options import add_records_option, split_names
from edgeproof.cli.output import show


def add_commands(commands: Any) -> None:
    """Add `submit` and `validate` to the command line's parser."""
    submit = commands.add_parser("submit", help="write an MLPerf submission from official records")
    submit.add_argument("--submitter", required=True, help="name of the organization that submits")
    submit.add_argument("--out", type=Path, required=True, help="directory to write the submission to")
    submit.add_argument(
        "--suite",
        choices=["inference", "tiny"],
        default="inference",
        help="MLPerf Inference or MLPerf Tiny (default: %(default)s)",
    )
    submit.add_argument("--flavour", dest="suite", choices=["inference", "tiny"], help=argparse.SUPPRESS)  # old name
    submit.add_argument(
        "--benchmark",
        help="MLPerf's benchmark for the task: resnet (default); --suite tiny needs ic, kws, vww or ad",
    )
    submit.add_argument(
        "--artifacts",
        type=split_names,
        default=[],
        metavar="A,B",
        help="artifacts to submit, as RUNTIME/MODEL.SCHEME, with * for any text (default: all)",
    )
    add_records_option(submit)
    submit.set_defaults(function=_submit)

    validate = commands.add_parser("validate", help="list the problems of an MLPerf submission")
    validate.add_argument("root", type=Path, help="the directory that contains open/")
    validate.set_defaults(function=_validate, needs_project=False)


def _submit(arguments: argparse.Namespace) -> int:
    from edgeproof.submission.submit import choose_benchmark, submit

    benchmark = choose_benchmark(arguments.suite, arguments.benchmark)
    files = submit(
        arguments.records,
        arguments.out,
        submitter=arguments.submitter,
        suite=arguments.suite,
        benchmark=benchmark,
        artifacts=arguments.artifacts,
    )
    show(
        f"Wrote {len(files)} files to {arguments.out}, filed under the benchmark '{benchmark}'. "
        f"'edgeproof validate {arguments.out}' accepts them."
    )
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    from edgeproof.submission.validate import validate

    problems = validate(arguments.root)
    for problem in problems:
        show(problem)
    show(f"{arguments.root}: {len(problems)} problem(s)" if problems else f"{arguments.root}: accepted")
    return 1 if problems else 0
