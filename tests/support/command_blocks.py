"""The shell blocks of README.md, CONTRIBUTING.md and docs/*.md, each with the comment that says what runs it.

A comment on the line above a block is one of these:

    <!-- run by PATH -->          PATH is a test or a script that runs the block, or reads it and runs its commands
    <!-- run by PATH: NOTE -->
    <!-- not run: REASON -->      nothing runs it; lines that begin with 'edgeproof' are parsed all the same
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.project import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(
    r"^(?P<comments>(?:<!--[^\n]*-->\n)*)```(?P<language>sh|bash|shell|console)\n(?P<text>.*?)^```", re.M | re.S
)
RUN_BY = re.compile(r"<!-- run by (\S+?)(?:: .+)? -->")
NOT_RUN = re.compile(r"<!-- not run: \w.+ -->")
HEREDOC = re.compile(r"<<'(\w+)'\n.*?^\1$", re.M | re.S)


@dataclass(frozen=True)
class CommandBlock:
    """A block of shell commands in a document, with the comments above it."""

    document: Path
    line: int
    comments: str
    text: str

    @property
    def place(self) -> str:
        """The document and the line, as in 'farm.md:5'."""
        return f"{self.document.name}:{self.line}"

    @property
    def runner(self) -> Path | None:
        """The file that runs the block, or None without a comment 'run by'."""
        match = RUN_BY.search(self.comments)
        return ROOT / match[1] if match else None

    @property
    def has_reason(self) -> bool:
        """True if a comment says why nothing runs the block."""
        return NOT_RUN.search(self.comments) is not None

    def list_commands(self) -> list[str]:
        """Return the lines with commands, continued ones joined, without the text of here-documents."""
        lines = HEREDOC.sub("", self.text).replace("\\\n", " ").splitlines()
        words = [" ".join(shlex.split(line, comments=True)) for line in lines]
        return [line for line, content in zip(lines, words, strict=True) if content]

    def list_edgeproof_arguments(self) -> list[list[str]]:
        """Return the words behind 'edgeproof' of each such command, also behind '&&' and variables."""
        parts = [part for line in self.list_commands() for part in re.split(r"\s(?:&&|\|\||;)\s", line)]
        commands = [shlex.split(part, comments=True) for part in parts]
        stripped = [[*_drop_variables(words)] for words in commands]
        return [words[1:] for words in stripped if words and Path(words[0]).name == "edgeproof"]


def read_blocks(document: Path) -> list[CommandBlock]:
    """Return the shell blocks of a document."""
    text = document.read_text(encoding="utf-8")
    return [
        CommandBlock(document, text.count("\n", 0, match.start("text")), match["comments"], match["text"])
        for match in BLOCK.finditer(text)
    ]


def find_block(document: str, command: str) -> CommandBlock:
    """Return the first block of docs/<document> that contains a command."""
    return next(block for block in read_blocks(ROOT / "docs" / document) if command in block.text)


def _drop_variables(words: list[str]) -> Iterator[str]:
    """Yield the words of a command without the assignments of variables before it."""
    begun = False
    for word in words:
        begun = begun or not re.fullmatch(r"[A-Z_]+=.*", word)
        if begun:
            yield word
