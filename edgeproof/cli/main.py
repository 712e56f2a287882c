"""The programs `edgeproof` and `edgeproof-sweep`: build the parser and dispatch to a command.

Everything but `entry` is imported after `entry.run` has begun, so that an interruption at any time is one message.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof import entry

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from edgeproof.cli.parser import CommandParser


def main() -> None:
    """Run the `edgeproof` command and exit."""
    entry.run(lambda: run(sys.argv[1:]))


def run_sweep() -> None:
    """Run the `edgeproof-sweep` command and exit."""
    entry.run(lambda: _run_sweep(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Parse the arguments and run the command; return its exit code.

    Raises ConfigError when the command needs a project and the working directory is none.
    """
    from edgeproof.config.project import require_project

    arguments = parse(argv)
    if not _works_without_project(arguments):
        require_project()
    code: int = arguments.function(arguments)
    return code


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments. Ends the process with code 2 and the usage if they are invalid."""
    return _build_parser()[0].parse_all(argv)


def command_names() -> set[str]:
    """Return the names of all commands."""
    return set(_build_parser()[1].choices)


def list_commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command by its words, such as 'report' or 'devices add'; '' is the program's own."""
    import argparse

    commands: dict[str, argparse.ArgumentParser] = {}
    pending: list[argparse.ArgumentParser] = [_build_parser()[0]]
    while pending:
        parser = pending.pop(0)
        commands[" ".join(parser.prog.split()[1:])] = parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                pending[:0] = action.choices.values()
    return commands


def _works_without_project(arguments: argparse.Namespace) -> bool:
    """Return True for `validate`, and for a command whose arguments name records or a table that exist."""
    from edgeproof.cli.signing import RESULTS

    if not getattr(arguments, "needs_project", True):
        return True
    if getattr(arguments, "places", [RESULTS]) != [RESULTS]:
        return True  # 'sign' and 'verify' say themselves which directory has no records
    names = [getattr(arguments, name, None) for name in ("records", "table", "a", "b")]
    return any(Path(name).exists() for name in [*names, *getattr(arguments, "places", [])] if name)


def _run_sweep(argv: Sequence[str]) -> int:
    from edgeproof.cli import sweep
    from edgeproof.config.project import require_project

    require_project()
    return sweep.main(argv)


def _build_parser() -> tuple[CommandParser, Any]:
    import edgeproof
    from edgeproof.cli import (
        bench,
        deployment,
        devices,
        exchange,
        farm,
        listing,
        project,
        provenance,
        records,
        report,
        search,
        signing,
        study,
        submission,
    )
    from edgeproof.cli.parser import CommandParser, add_printing_options

    parser = CommandParser(prog="edgeproof", description=edgeproof.__doc__)
    add_printing_options(parser)
    commands = parser.add_subparsers(metavar="COMMAND")  # CommandParser reports a missing command
    nouns = (
        project,
        study,
        search,
        bench,
        report,
        provenance,
        records,
        submission,
        devices,
        deployment,
        farm,
        signing,
        exchange,
        listing,
    )
    for module in nouns:
        module.add_commands(commands)
    return parser, commands


if __name__ == "__main__":
    main()
