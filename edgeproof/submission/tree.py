"""A directory of unknown origin, looked through once: its files by their path's parts, and what is odd about them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeproof.submission import logs
from edgeproof.submission.logs import Detail, Unreadable
from edgeproof.submission.rules import FILE_BYTES

Parts = tuple[str, ...]

# The deepest file of a submission is nine directories down; sources may go deeper.
DEEPEST = 24
# Problems that one look at a file may add.
MOST = 60


@dataclass
class Tree:
    """Regular files below `root`, the directories' directories, and the problems so far, each a readable line."""

    root: Path
    files: set[Parts] = field(default_factory=set)
    directories: dict[Parts, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, parts: Parts, problems: Iterable[str]) -> None:
        """Note problems of one file or directory."""
        found = list(itertools.islice(problems, MOST + 1))
        self.problems += [f"{name(parts)}: {problem}" for problem in found[:MOST]]
        if len(found) > MOST:
            self.problems.append(f"{name(parts)}: has more problems than these")

    def children(self, parts: Parts) -> list[str]:
        """The names of a directory's directories; none where there is no such directory."""
        return self.directories.get(parts, [])

    def text(self, parts: Parts) -> str | None:
        """A file's text; None where there is none, which is noted unless the file is missing."""
        if parts not in self.files:
            return None
        try:
            return logs.text_of(self.root.joinpath(*parts))
        except Unreadable as error:
            self.add(parts, [str(error)])
            return None

    def json(self, parts: Parts) -> dict[str, Any] | None:
        """A file's JSON object; None where there is none."""
        text = self.text(parts)
        if text is None:
            return None
        try:
            content = logs.parsed_json(text)
        except Unreadable as error:
            self.add(parts, [str(error)])
            return None
        if not isinstance(content, dict):
            self.add(parts, [f"is {logs.shown(content)}; expected a JSON object"])
            return None
        return content

    def detail(self, parts: Parts) -> Detail | None:
        """LoadGen's detail log in a file; None where there is none."""
        text = self.text(parts)
        return None if text is None else logs.detail(text)


def scan(root: Path) -> Tree:
    """Look through `root` without following links; odd names, links, empty and huge things are problems."""
    tree = Tree(root)
    pending: list[Parts] = [()]
    while pending:
        parts = pending.pop()
        below = tree.directories[parts] = []
        try:
            with os.scandir(root.joinpath(*parts)) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            tree.add(parts, [f"cannot be listed: {error.strerror or type(error).__name__}"])
            continue
        if not entries:
            tree.add(parts, ["is an empty directory; expected none"])
        for entry in entries:
            if _noted(tree, (*parts, entry.name), entry):
                below.append(entry.name)
                pending.append((*parts, entry.name))
    return tree


def name(parts: Parts) -> str:
    """A path for a message."""
    joined = "/".join(parts) or "."
    return joined if joined.isprintable() else ascii(joined)


def _noted(tree: Tree, parts: Parts, entry: os.DirEntry[str]) -> bool:
    """Note one entry; True for a directory to look into."""
    if entry.name.startswith(".") or not entry.name.isascii() or not entry.name.isprintable() or " " in entry.name:
        tree.add(parts, ["has a name with a leading dot, a space or a special character; expected none"])
    try:
        status = entry.stat(follow_symlinks=False)
        if entry.is_symlink():
            tree.add(parts, ["is a symbolic link; expected the file itself"])
        elif entry.is_dir(follow_symlinks=False):
            if len(parts) <= DEEPEST:
                return True
            tree.add(parts, [f"lies deeper than {DEEPEST} directories"])
        elif not entry.is_file(follow_symlinks=False):
            tree.add(parts, ["is neither a file nor a directory"])
        elif status.st_size == 0:
            tree.files.add(parts)
            tree.add(parts, ["is empty; expected content"])
        elif status.st_size > FILE_BYTES:
            tree.add(parts, [f"has {status.st_size} bytes; expected at most {FILE_BYTES}"])
        else:
            tree.files.add(parts)
    except OSError as error:
        tree.add(parts, [f"cannot be read: {error.strerror or type(error).__name__}"])
    return False
