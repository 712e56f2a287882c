"""The command line: compose a study, run it, say what exists."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import edgeproof

from . import config, devices, entry, studies
from .core import plugins
from .core.directories import write_text
from .core.errors import ConfigError
from .paths import TABLES

README = Path("README.md")
TABLE_BEGINS, TABLE_ENDS = "<!-- table: begin -->", "<!-- table: end -->"


def main() -> None:
    """The `edgeproof` command."""
    entry.run(lambda: run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Parse and dispatch; returns the exit code."""
    arguments = _parser()[0].parse_args(argv)
    code: int = arguments.function(arguments)
    return code


def verbs() -> set[str]:
    """The names of all commands."""
    return set(_parser()[1].choices)


def _parser() -> tuple[argparse.ArgumentParser, Any]:
    parser = argparse.ArgumentParser(prog="edgeproof", description=edgeproof.__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    compose = commands.add_parser("compose", help="compose a study of conf/ into params.yaml")
    compose.add_argument("overrides", nargs="*", help="Hydra overrides: study=digits distill.temperature=2")
    compose.add_argument("--print", action="store_true", help="print the composition, write nothing")
    compose.set_defaults(function=_compose)

    repro = commands.add_parser("repro", help="run a study with DVC and print its table")
    repro.add_argument("study", nargs="?", help="one of conf/study; the default study when left out")
    repro.add_argument("overrides", nargs="*", help="Hydra overrides")
    repro.set_defaults(function=_repro)

    readme = commands.add_parser("readme", help="put the default study's short table into README.md")
    readme.set_defaults(function=_readme)

    known = commands.add_parser("list", help="list studies, devices and every plugin")
    known.set_defaults(function=_list)
    return parser, commands


def _compose(arguments: argparse.Namespace) -> int:
    params = config.compose(overrides=arguments.overrides)
    if arguments.print:
        print(config.dump(params), end="")
    else:
        config.write(params, " ".join(arguments.overrides))
        print(f"params.yaml holds study '{params.study}'. Run it with 'dvc repro'.")
    return 0


def _repro(arguments: argparse.Namespace) -> int:
    return studies.repro(arguments.study, arguments.overrides)


def _readme(arguments: argparse.Namespace) -> int:
    text = README.read_text(encoding="utf-8")
    if TABLE_BEGINS not in text or TABLE_ENDS not in text.partition(TABLE_BEGINS)[2]:
        raise ConfigError(f"{README} has no {TABLE_BEGINS} followed by {TABLE_ENDS}. Put both where the table belongs.")
    before, _, rest = text.partition(TABLE_BEGINS)
    _, _, after = rest.partition(TABLE_ENDS)
    table = (TABLES / "summary.md").read_text(encoding="utf-8")
    write_text(README, f"{before}{TABLE_BEGINS}\n{table}{TABLE_ENDS}{after}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    print(f"studies: {', '.join(config.studies())}")
    print(f"devices: {', '.join(devices.names())}")
    for kind in plugins.SINGULAR:
        print(f"{kind}: {', '.join(plugins.names(kind))}")
    return 0


if __name__ == "__main__":
    main()
