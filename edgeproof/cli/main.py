"""The `edgeproof` command: build the parser, dispatch to a command, list what exists."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import edgeproof
from edgeproof import entry
from edgeproof.cli import bench, devices, farm, provenance, records, report, signing, study, submission


def main() -> None:
    """Run the `edgeproof` command and exit."""
    entry.run(lambda: run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Parse the arguments and run the command; return its exit code."""
    arguments = parse(argv)
    code: int = arguments.function(arguments)
    return code


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments. Ends the process with code 2 and the usage if they are invalid."""
    return _build_parser()[0].parse_args(argv)


def command_names() -> set[str]:
    """Return the names of all commands."""
    return set(_build_parser()[1].choices)


def _build_parser() -> tuple[argparse.ArgumentParser, Any]:
    parser = argparse.ArgumentParser(prog="edgeproof", description=edgeproof.__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (study, bench, report, provenance, records, submission, devices, farm, signing):
        module.add_commands(commands)
    listing = commands.add_parser("list", help="list the studies, devices and plugins")
    listing.set_defaults(function=_list)
    return parser, commands


def _list(arguments: argparse.Namespace) -> int:
    from edgeproof.config import cards, compose
    from edgeproof.core import plugins

    print(f"studies: {', '.join(compose.list_studies())}")
    print(f"devices: {', '.join(cards.names())}")
    for kind in plugins.SINGULAR:
        print(f"{kind}: {', '.join(plugins.list_names(kind))}")
    return 0


if __name__ == "__main__":
    main()
