"""edgeproof list: the studies, devices and plugins that exist, each with one line that describes it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgeproof.cli.output import show

OK = 0
UNREADABLE = "(its file cannot be read)"


def add_commands(commands: Any) -> None:
    """Add `list` to the command line's parser."""
    listing = commands.add_parser("list", help="list the studies, devices and plugins")
    listing.set_defaults(function=_list)


def describe_yaml(path: Path) -> str:
    """Return the first comment line of a YAML file up to its last full stop; '' for a file without a comment.

    Hydra's line '@package' is skipped.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                text = line.strip()
                if text and not text.startswith("#"):
                    return ""
                comment = text.lstrip("# ")
                if comment and not comment.startswith("@package"):
                    sentences, stop, _ = comment.rpartition(". ")
                    return comment if comment.endswith(".") or not stop else f"{sentences}."
    except (OSError, ValueError):
        return UNREADABLE
    return ""


def describe_module(path: Path) -> str:
    """Return the first line of a Python file's docstring. The file is not imported."""
    import ast

    try:
        docstring = ast.get_docstring(ast.parse(path.read_bytes()))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return UNREADABLE
    return (docstring or "").partition("\n")[0].strip()


def list_groups() -> dict[str, dict[str, str]]:
    """Return the names of studies, devices and plugins with their descriptions, by kind."""
    from edgeproof.config import cards, compose, task_kinds
    from edgeproof.config.conf_files import find_conf_file, list_conf_directories
    from edgeproof.core import plugins

    studies = {name: find_conf_file("study", name, compose.CONF) for name in compose.list_studies()}
    groups = {
        "studies": {name: describe_yaml(path) for name, path in studies.items()},
        "devices": {name: describe_yaml(cards.CARDS / f"{name}.yaml") for name in cards.list_names()},
    }
    for kind in plugins.SINGULAR:
        sources = {name: plugins.find_source(kind, name) for name in plugins.list_names(kind)}
        descriptions = {name: describe_module(path) for name, path in sources.items()}
        if kind == "tasks":
            own_tasks = task_kinds.list_own_tasks(list_conf_directories(compose.CONF))
            descriptions |= {path.stem: describe_yaml(path) for path in own_tasks}
        groups[kind] = dict(sorted(descriptions.items()))
    return groups


def _list(arguments: argparse.Namespace) -> int:
    for kind, descriptions in list_groups().items():
        _print_group(kind, descriptions)
    return OK


def _print_group(kind: str, descriptions: dict[str, str]) -> None:
    show(f"{kind}:{'' if descriptions else ' none'}")
    width = max(map(len, descriptions), default=0)
    for name, description in descriptions.items():
        show(f"  {name.ljust(width)}  {description}".rstrip())
