"""Every shell block of the documents says which test runs it, or why none does, and its edgeproof commands parse."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from edgeproof.cli import main
from tests.support.command_blocks import DOCUMENTS, CommandBlock, read_blocks

BLOCKS = [block for document in DOCUMENTS for block in read_blocks(document)]


def find_problems(block: CommandBlock) -> list[str]:
    """Return the reasons why a block is not covered."""
    if block.runner is None:
        hint = "write '<!-- run by tests/…/test_….py -->' or '<!-- not run: why -->' above the block"
        return [] if block.has_reason else [f"{block.place}: {hint}"]
    if not block.runner.is_file():
        return [f"{block.place}: there is no {block.runner}"]
    text = block.runner.read_text(encoding="utf-8")
    commands = [" ".join(line.partition(" #")[0].split()) for line in block.list_commands()]
    if block.document.name in text or all(command in text for command in commands):
        return []
    return [f"{block.place}: {block.runner.name} names neither {block.document.name} nor each command of the block"]


def parse(words: list[str]) -> None:
    """Parse the words behind 'edgeproof' as the program does. Raises ValueError if they are wrong."""
    try:
        if words[0] == "sweep":
            arguments = get_args_parser().parse_args(words[1:])
            OverridesParser.create().parse_overrides(arguments.overrides)
        else:
            main.parse(words)
    except HydraException as error:
        raise ValueError(f"{words}: {error}") from error
    except SystemExit as error:  # 'edgeproof --version' exits with 0
        if error.code != 0:
            raise ValueError(f"{words} are wrong") from error


def test_the_documents_have_blocks() -> None:
    assert len(BLOCKS) > 30
    assert {"README.md", "CONTRIBUTING.md", "farm.md"} <= {block.document.name for block in BLOCKS}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_block_names_the_test_that_runs_it_or_the_reason_why_none_does(block: CommandBlock) -> None:
    assert find_problems(block) == []


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_the_commands_of_a_block_parse(block: CommandBlock) -> None:
    for words in block.list_edgeproof_arguments():
        parse(words)


def write_document(path: Path, comment: str, command: str) -> CommandBlock:
    path.write_text(f"Text.\n\n{comment}```sh\n{command}\n```\n", encoding="utf-8")
    (block,) = read_blocks(path)
    return block


def test_a_block_without_a_comment_or_with_a_wrong_one_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert find_problems(write_document(page, "", "make lint")) != []
    assert find_problems(write_document(page, "<!-- not run: -->\n", "make lint")) != []
    assert find_problems(write_document(page, "<!-- run by tests/no_such_test.py -->\n", "make lint")) != []
    assert find_problems(write_document(page, "<!-- run by .ci/run -->\n", "make nothing")) != []
    assert find_problems(write_document(page, "<!-- run by .ci/run -->\n", "make lint   # a comment")) == []
    assert find_problems(write_document(page, "<!-- not run: needs a board -->\n", "make lint")) == []


@pytest.mark.parametrize(
    "command",
    ["edgeproof reprot", "A=1 edgeproof report --recrods x", "cd a && edgeproof farm rnu", "edgeproof sweep a=[1"],
)
def test_a_wrong_command_is_noticed(tmp_path: Path, command: str) -> None:
    (words,) = write_document(tmp_path / "page.md", "", command).list_edgeproof_arguments()
    with pytest.raises(ValueError, match=words[0]):
        parse(words)


def test_continued_lines_comments_and_here_documents_are_read_like_a_shell_does(tmp_path: Path) -> None:
    text = "edgeproof compare a \\\n    b  # why\n# edgeproof nothing\npython - <<'END'\nedgeproof = 1\nEND"
    assert write_document(tmp_path / "page.md", "", text).list_edgeproof_arguments() == [["compare", "a", "b"]]
