"""The documents agree with the project: README's table, versions, links, and commands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import edgeproof
from edgeproof.cli import main
from edgeproof.report import selections, table_files, table_json
from edgeproof.report.grids import build_grid
from tests.support.committed_tables import list_tables

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def is_readme_current(root: Path, scratch: Path) -> bool:
    """Return True if 'edgeproof report readme' would leave README.md as it is for one of the possible tables."""
    text = (root / "README.md").read_text(encoding="utf-8")
    selection = selections.load("readme")
    assert selection.into == "README.md"
    copy, rows = scratch / "copy.md", scratch / "rows.json"
    for table in list_tables(root):
        copy.write_text(text, encoding="utf-8")
        rows.write_text(table, encoding="utf-8")
        table_files.insert_table(copy, build_grid(table_json.read_table_rows(rows), selection))
        if copy.read_text(encoding="utf-8") == text:
            return True
    return False


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with a commit that holds this project's README.md and table. Run the test in the project."""
    monkeypatch.chdir(ROOT)
    root = tmp_path / "checkout"
    (root / "results/tables").mkdir(parents=True)
    (root / "README.md").write_bytes((ROOT / "README.md").read_bytes())
    (root / "results/tables/table.json").write_text(list_tables(ROOT)[0], encoding="utf-8")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def replace_table(root: Path) -> None:
    """Write a table with other figures into the working tree, as a new measurement does."""
    path = root / "results/tables/table.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for row in content["rows"]:
        row["size_bytes"] = 7_000_000
    path.write_text(json.dumps(content), encoding="utf-8")


def test_the_readme_shows_the_table_of_the_committed_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert is_readme_current(ROOT, tmp_path), "update it with 'edgeproof report readme'"
    assert (ROOT / "README.md").read_text(encoding="utf-8").partition(table_files.BEGIN_MARKER)[2].count("\n") >= 7


def test_a_new_measurement_in_the_working_tree_leaves_the_readme_current(checkout: Path, tmp_path: Path) -> None:
    replace_table(checkout)
    assert is_readme_current(checkout, tmp_path)


def test_a_readme_changed_by_hand_is_not_current(checkout: Path, tmp_path: Path) -> None:
    readme = checkout / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(text.replace("| tflite | teacher |", "| tflite | Teacher |", 1), encoding="utf-8")
    assert readme.read_text(encoding="utf-8") != text
    assert not is_readme_current(checkout, tmp_path)


def test_a_readme_older_than_the_committed_table_is_not_current(checkout: Path, tmp_path: Path) -> None:
    replace_table(checkout)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, "commit", "-qam", "two"], cwd=checkout, check=True)
    assert not is_readme_current(checkout, tmp_path)


def test_an_export_without_git_is_compared_with_its_own_table(checkout: Path, tmp_path: Path) -> None:
    shutil.rmtree(checkout / ".git")
    assert is_readme_current(checkout, tmp_path)
    replace_table(checkout)
    assert not is_readme_current(checkout, tmp_path)


def test_every_place_names_the_same_version() -> None:
    """The version of edgeproof-device is the same too: both are released together."""
    projects = [ROOT / "pyproject.toml", ROOT / "distributions/edgeproof-device/pyproject.toml"]
    version, device_version = (tomllib.loads(path.read_text("utf-8"))["project"]["version"] for path in projects)
    assert edgeproof.__version__ == device_version == version
    assert f"edgeproof-{version}-py3-none-any.whl" in (ROOT / "docs/install.md").read_text(encoding="utf-8")
    released = re.findall(
        r"^## \[([0-9.]+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert released[0] == version


@pytest.mark.parametrize(
    ("begin", "end", "table"),
    [("", "## 50 KB", "techniques_fashion_mnist.md"), ("## On digits", None, "techniques_digits.md")],
)
def test_the_figures_in_the_text_on_techniques_are_in_the_table_of_their_study(
    begin: str, end: str | None, table: str
) -> None:
    text = (ROOT / "docs/techniques.md").read_text(encoding="utf-8")
    text = text[text.index(begin) : text.index(end) if end else None]
    cells = re.findall(r"[+-]?[0-9.]+×?\s\[[^]]+\](?!\()|[0-9.]+ ± [0-9.]+", text)
    assert len(cells) >= 10
    rows = (ROOT / "docs" / table).read_text(encoding="utf-8").splitlines()
    table_cells = {cell.strip() for row in rows if row.startswith("|") for cell in row.split("|")}
    assert {" ".join(cell.split()) for cell in cells} <= table_cells


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_local_links_lead_to_files(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_make_targets_and_commands_in_a_document_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    verbs = main.command_names()
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) <= targets
    assert set(re.findall(r"`edgeproof ([a-z]+)", text)) <= verbs
