"""The argument parser of all commands: an unknown command, option or value is answered with the nearest known one."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from edgeproof.cli.output import show
from edgeproof.core.errors import suggest_nearest

SHELLS = ("bash", "zsh")


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors name the nearest known name, and all known ones.

    Each parsed namespace holds the parser of its command as `parser`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.set_defaults(parser=self)

    def parse_all(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments. Ends the process with code 2 and the usage of the command if they are invalid."""
        arguments, unknown = self.parse_known_args(argv)
        if unknown:
            arguments.parser.report_unknown(unknown, {*self.list_options(), *arguments.parser.list_options()})
        if not hasattr(arguments, "function"):
            self.error("a command is missing")
        return arguments

    def list_options(self) -> list[str]:
        """Return the long names of all options of this parser, without those of its commands."""
        return [option for option in self._option_string_actions if option.startswith("--")]

    def report_unknown(self, words: Sequence[str], options: Collection[str]) -> NoReturn:
        """End the process with code 2, the usage, and the option that is nearest to the first unknown one."""
        word = next((word for word in words if word.startswith("-")), words[0])
        hint = suggest_nearest(word.partition("=")[0], options) if word.startswith("-") else ""
        self.error(f"unrecognized arguments: {' '.join(words)}.{hint}")

    def error(self, message: str) -> NoReturn:
        """End the process with code 2, the usage, the message, and the command that shows the help."""
        super().error(f"{message.removesuffix('.')}. See '{self.prog} --help'.")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Check a value against the choices of its argument; names of commands are choices too."""
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        kind = "command" if isinstance(action, argparse._SubParsersAction) else "value"
        raise argparse.ArgumentError(
            action,
            f"unknown {kind} '{value}'.{suggest_nearest(str(value), known)} Known: {', '.join(known)}",
        )


class PrintVersion(argparse.Action):
    """Print the version of edgeproof and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        import importlib.metadata  # here, so that commands start faster

        show(f"edgeproof {importlib.metadata.version('edgeproof')}")
        parser.exit()


class PrintCompletion(argparse.Action):
    """Print a script that completes commands, options and paths in a shell, and exit."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: object, values: object, option_string: object = None
    ) -> NoReturn:
        import shtab  # here, so that commands start faster

        _complete_paths(parser, shtab.FILE)
        show(shtab.complete(parser, str(values)))
        parser.exit()


def add_printing_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that print something and exit: --version and --print-completion."""
    parser.add_argument("--version", action=PrintVersion, nargs=0, help="print the version and exit")
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        metavar="SHELL",
        help="print a script that completes commands and options in bash or zsh, and exit, as in: "
        "edgeproof --print-completion bash > ~/.local/share/bash-completion/completions/edgeproof",
    )


def _complete_paths(parser: argparse.ArgumentParser, completion: Mapping[str, Any]) -> None:
    """Complete the arguments that are paths, in this parser and those of its commands."""
    for action in parser._actions:
        if action.type is Path:
            action.complete = completion  # type: ignore[attr-defined]
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_paths(command, completion)
