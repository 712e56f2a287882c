"""Options that messages and documents name: they exist, and the command beside them has them."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproof.cli.main import list_commands
from tests.support.command_parsers import list_options

ROOT = Path(__file__).parents[2]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
# A command up to the end of its code span, quotation or line. Hydra parses the words of 'sweep'.
COMMAND = re.compile(r"\bedgeproof ((?!sweep)[a-z]+(?: [a-z]+)?)((?:\\\n|[^`'\"\n|#])*)")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "Makefile"])
SOURCES = sorted((ROOT / "edgeproof").rglob("*.py"))
# Options of other programs, and of the programs that run on a board.
OTHER_PROGRAMS = {
    "docker": {"--cpus", "--input"},
    "git": {"--global", "--add", "--tags", "--format"},
    "Hydra": {"--multirun", "--hydra-help"},
    "MLPerf's checker": {"--skip-dataset-size-check"},
    "pip": {"--no-binary", "--no-cache-dir"},
    "python -m edgeproof.board": {"--memory-mib", "--port"},
    "ray": {"--address", "--head", "--resources"},
    "run.pyz": {"--check", "--measure", "--min-score", "--out", "--signer", "--threads", "--verify"},
}


def list_messages(source: Path) -> Iterator[str]:
    """Yield the strings of a module that are prose: those with a space. Docstrings are for developers."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in docstrings:
            continue
        if isinstance(node.value, str) and " " in node.value:
            yield node.value


@functools.cache
def list_known_options() -> dict[str, set[str]]:
    """Return the options of each command. To build the parsers takes longer than to look through a text."""
    return {command: list_options(parser) for command, parser in list_commands().items()}


def list_wrong_options(text: str) -> list[str]:
    """Return the options in a text that the command before them lacks."""
    known = list_known_options()
    wrong = []
    for words, rest in COMMAND.findall(text):
        command = words if words in known else words.split()[0]
        if command in known:
            wrong += [f"{command} {option}" for option in OPTION.findall(rest) if option not in known[command]]
    return wrong


def test_every_option_in_a_message_exists() -> None:
    own = set().union(*list_known_options().values())
    known = own.union(*OTHER_PROGRAMS.values())
    texts = [(source.name, text) for source in SOURCES for text in list_messages(source)]
    options = {(name, option) for name, text in texts for option in OPTION.findall(text)}
    assert len(options) > 30
    assert [item for item in sorted(options) if item[1] not in known] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_command_in_a_message_has_the_options_beside_it(source: Path) -> None:
    assert [wrong for text in list_messages(source) for wrong in list_wrong_options(text)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_command_in_a_document_has_the_options_beside_it(document: Path) -> None:
    assert list_wrong_options(document.read_text(encoding="utf-8")) == []


def test_wrong_options_are_noticed() -> None:
    assert list_wrong_options(
        "run `edgeproof report --recrods x` or `edgeproof devices add pi --host pi4 --board`"
    ) == [
        "report --recrods",
        "devices add --board",
    ]
    assert list_wrong_options("edgeproof report --records x \\\n  --nothing\nmake --other") == ["report --nothing"]
