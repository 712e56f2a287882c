"""The documentation site is built without a warning, and its reference pages hold what the code has."""

from __future__ import annotations

import argparse
import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproof.cli import listing, main
from tests.support.project import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does."""
    place = tmp_path_factory.mktemp("site")
    recipe = re.search(r"^docs:.*\n\t.*sphinx (.*) docs build/docs$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    command = [sys.executable, "-m", "sphinx", *recipe[1].split(), "-d", str(place / "doctrees"), "docs", str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def read_text(page: Path) -> str:
    """Return the text of a page without tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_every_page_is_in_the_menu(site: Path) -> None:
    menu = (site / "index.html").read_text(encoding="utf-8")
    pages = [path.stem for path in (ROOT / "docs").glob("*.md")]
    assert len(pages) > 20
    assert [name for name in pages if name != "index" and f'href="{name}.html"' not in menu] == []


def test_the_command_reference_has_every_command_with_its_options(site: Path) -> None:
    text = read_text(site / "command_line.html")
    for name, parser in main.list_commands().items():
        if parser.get_default("function"):
            assert f"edgeproof {name}" in text
        actions = [action for action in parser._actions if action.help != argparse.SUPPRESS]
        options = {option for action in actions for option in action.option_strings} - {"-h", "--help"}
        assert [option for option in options if option not in text] == []


def test_the_reference_lists_every_name_that_a_study_may_use(site: Path) -> None:
    text = read_text(site / "names.html")
    names = [name for group in listing.list_groups().values() for name in group]
    assert len(names) > 80
    assert [name for name in names if name not in text] == []
    assert "int8-static-minmax" in text


def test_the_reference_describes_functions_and_schemas(site: Path) -> None:
    functions = read_text(site / "python_reference.html")
    assert "Measure a model file, or several, and return their table." in functions
    assert "class Study" in functions
    schemas = read_text(site / "json_schemas.html")
    assert "one line for each reason of a verdict that is not valid." in schemas
    assert "ArtifactDescription" in schemas


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    sources = [
        source
        for page in site.glob("*.html")
        for source in re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"(https?:[^\"]+)", page.read_text("utf-8"))
    ]
    assert sources == []
