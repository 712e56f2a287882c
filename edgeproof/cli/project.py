"""edgeproof init: write a new project."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from edgeproof.cli.output import show


def add_commands(commands: Any) -> None:
    """Add `init` to the command line's parser."""
    parser = commands.add_parser("init", help="write a new project with a study that runs at once")
    parser.add_argument(
        "directory", nargs="?", type=Path, default=Path(), metavar="DIR", help="where (default: the working directory)"
    )
    parser.set_defaults(function=_init, needs_project=False)


def _init(arguments: argparse.Namespace) -> int:
    from edgeproof.project.init import init

    for name in init(arguments.directory):
        show(f"  {name}")
    step = "" if arguments.directory == Path() else f"cd {shlex.quote(str(arguments.directory))} && "
    show(f"Run the study: {step}edgeproof repro\nREADME.md explains the files.")
    return 0
