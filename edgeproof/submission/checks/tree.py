"""Scan a directory from an untrusted source once: its files, its directories, and their problems."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeproof.submission import logs
from edgeproof.submission.logs import DetailLog, UnreadableFile
from edgeproof.submission.rules import MAX_FILE_BYTES

Parts = tuple[str, ...]

# A submission is nine directories deep. Sources may be deeper.
MAX_DEPTH = 24
# Problems that one check of a file may add.
MAX_PROBLEMS = 60


@dataclass
class Tree:
    """Content of the directory `root`, with paths as tuples of their parts.

    `directories` maps each directory to the names of its subdirectories. `problems` are readable lines.
    """

    root: Path
    files: set[Parts] = field(default_factory=set)
    directories: dict[Parts, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, parts: Parts, problems: Iterable[str]) -> None:
        """Add problems of one file or directory."""
        shown = list(itertools.islice(problems, MAX_PROBLEMS + 1))
        self.problems += [f"{format_path(parts)}: {problem}" for problem in shown[:MAX_PROBLEMS]]
        if len(shown) > MAX_PROBLEMS:
            self.problems.append(f"{format_path(parts)}: has more problems, which are not listed")

    def list_children(self, parts: Parts) -> list[str]:
        """Return the names of a directory's subdirectories; an empty list for a missing directory."""
        return self.directories.get(parts, [])

    def read_text(self, parts: Parts) -> str | None:
        """Return a file's text; None if it is missing or, with a problem added, unreadable."""
        if parts not in self.files:
            return None
        try:
            return logs.read_text(self.root.joinpath(*parts))
        except UnreadableFile as error:
            self.add(parts, [str(error)])
            return None

    def read_json(self, parts: Parts) -> dict[str, Any] | None:
        """Return a file's JSON object; None if it is missing or, with a problem added, unreadable."""
        text = self.read_text(parts)
        if text is None:
            return None
        try:
            content = logs.parse_json(text)
        except UnreadableFile as error:
            self.add(parts, [str(error)])
            return None
        if not isinstance(content, dict):
            self.add(parts, [f"is {logs.quote(content)}; expected a JSON object"])
            return None
        return content

    def read_detail(self, parts: Parts) -> DetailLog | None:
        """Return LoadGen's detail log in a file; None if it is missing or, with a problem added, unreadable."""
        text = self.read_text(parts)
        return None if text is None else logs.parse_detail(text)


def scan(root: Path) -> Tree:
    """Scan `root` without following links; add a problem for every unusual name, link, empty or too large file."""
    tree = Tree(root)
    pending: list[Parts] = [()]
    while pending:
        parts = pending.pop()
        subdirectories = tree.directories[parts] = []
        try:
            with os.scandir(root.joinpath(*parts)) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            tree.add(parts, [f"cannot be listed: {error.strerror or type(error).__name__}"])
            continue
        if not entries:
            tree.add(parts, ["is an empty directory; expected none"])
        for entry in entries:
            if _scan_entry(tree, (*parts, entry.name), entry):
                subdirectories.append(entry.name)
                pending.append((*parts, entry.name))
    return tree


def format_path(parts: Parts) -> str:
    """Format a path for a message."""
    joined = "/".join(parts) or "."
    return joined if joined.isprintable() else ascii(joined)


def _scan_entry(tree: Tree, parts: Parts, entry: os.DirEntry[str]) -> bool:
    """Add a file and its problems to the tree; return True for a directory to scan."""
    if entry.name.startswith(".") or not entry.name.isascii() or not entry.name.isprintable() or " " in entry.name:
        tree.add(parts, ["has a name with a leading dot, a space or a special character; expected none"])
    try:
        status = entry.stat(follow_symlinks=False)
        if entry.is_symlink():
            tree.add(parts, ["is a symbolic link; expected the file itself"])
        elif entry.is_dir(follow_symlinks=False):
            if len(parts) <= MAX_DEPTH:
                return True
            tree.add(parts, [f"is more than {MAX_DEPTH} directories deep"])
        elif not entry.is_file(follow_symlinks=False):
            tree.add(parts, ["is neither a file nor a directory"])
        elif status.st_size == 0:
            tree.files.add(parts)
            tree.add(parts, ["is empty; expected content"])
        elif status.st_size > MAX_FILE_BYTES:
            tree.add(parts, [f"has {status.st_size} bytes; expected at most {MAX_FILE_BYTES}"])
        else:
            tree.files.add(parts)
    except OSError as error:
        tree.add(parts, [f"cannot be read: {error.strerror or type(error).__name__}"])
    return False
