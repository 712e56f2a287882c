"""The parsers of the command line: all commands with their options."""

from __future__ import annotations

import argparse

from edgeproof.cli import main


def list_commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command by its words, such as 'report' or 'devices add'; '' is the program's own."""
    commands: dict[str, argparse.ArgumentParser] = {}
    pending: list[argparse.ArgumentParser] = [main._build_parser()[0]]
    while pending:
        parser = pending.pop()
        commands[" ".join(parser.prog.split()[1:])] = parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                pending += action.choices.values()
    return commands


def list_options(parser: argparse.ArgumentParser) -> set[str]:
    """Return the long names of a parser's options."""
    return {option for option in parser._option_string_actions if option.startswith("--")}
