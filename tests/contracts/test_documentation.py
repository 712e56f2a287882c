"""The documents hold: the README's table is the measured one, links lead somewhere, commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from edgeproof.cli import main
from edgeproof.core import plugins
from edgeproof.report import selections
from edgeproof.report.grids import grid
from edgeproof.site import publish

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def test_the_readmes_table_is_what_its_command_writes_from_the_committed_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    chosen = selections.load("readme")
    assert chosen.into == "README.md"
    copy = tmp_path / "README.md"
    copy.write_text(text, encoding="utf-8")
    publish.put_between(copy, grid(publish.rows_of_table(Path("results/tables/table.json")), chosen))
    assert copy.read_text(encoding="utf-8") == text, "bring it up to date with 'edgeproof report readme'"
    assert text.partition(publish.BEGINS)[2].count("\n") >= 7


def test_the_readme_lists_the_plugins_that_exist() -> None:
    row = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| today"))
    methods, runtimes, schemes, scenarios = (set(cell.replace("`", "").split()) for cell in row.split("|")[2:6])
    assert methods == set(plugins.names("methods"))
    assert runtimes == set(plugins.names("runtimes"))
    loaded = [yaml.safe_load(path.read_text()) for path in (ROOT / "conf/runtimes").glob("*.yaml")]
    assert schemes == {scheme for definition in loaded for scheme in definition["schemes"]}
    described = [yaml.safe_load(path.read_text()) for path in (ROOT / "conf/scenarios").glob("*.yaml")]
    assert scenarios == {definition["scenario"] for definition in described}


@pytest.mark.parametrize(
    ("begin", "end", "table"),
    [("", "## 50 KB", "techniques_fashion_mnist.md"), ("## On digits", None, "techniques_digits.md")],
)
def test_what_is_said_of_techniques_is_in_the_table_of_their_run(begin: str, end: str | None, table: str) -> None:
    text = (ROOT / "docs/techniques.md").read_text(encoding="utf-8")
    text = text[text.index(begin) : text.index(end) if end else None]
    cells = re.findall(r"[+-]?[0-9.]+×?\s\[[^]]+\](?!\()|[0-9.]+ ± [0-9.]+", text)
    assert len(cells) >= 10
    rows = (ROOT / "docs" / table).read_text(encoding="utf-8").splitlines()
    measured = {cell.strip() for row in rows if row.startswith("|") for cell in row.split("|")}
    assert {" ".join(cell.split()) for cell in cells} <= measured


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_local_link_leads_to_a_file(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_and_verb_that_is_named_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    verbs = main.verbs()
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) <= targets
    assert set(re.findall(r"`edgeproof ([a-z]+)", text)) <= verbs
