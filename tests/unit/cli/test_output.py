"""Output of commands: text from outside never controls the terminal."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproof.cli.output import show
from tests.support.project import ROOT


def test_show_prints_like_print_but_escapes_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    show("a\x1b[2J", 3, Path("b\u202e"), sep=" - ")
    show("no end", end="")
    stream = io.StringIO()
    show("two\nlines\t", file=stream)
    assert capsys.readouterr().out == "a\\u001b[2J - 3 - b\\u202e\nno end"
    assert stream.getvalue() == "two\nlines\t\n"


@pytest.mark.parametrize("source", sorted((ROOT / "edgeproof/cli").glob("*.py")), ids=lambda path: path.stem)
def test_every_command_prints_through_show(source: Path) -> None:
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not calls or source.stem == "output"


@pytest.mark.parametrize("error", ["errors.DeviceError", "OSError"])
def test_an_error_message_never_controls_the_terminal(error: str) -> None:
    main = f"def main():\n    raise {error}('no\\x1b[2J')"
    code = f"from edgeproof import entry\nfrom edgeproof.core import errors\n{main}\nentry.run(main)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: no\\u001b[2J")
