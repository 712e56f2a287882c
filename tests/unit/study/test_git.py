"""What a record says of the code that measured: the commit, and which sources differ from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgeproof.core.errors import EdgeproofError
from edgeproof.study import git


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit."""
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "a")
        monkeypatch.setenv(f"{name}_EMAIL", "a@b")
    (tmp_path / "edgeproof").mkdir()
    (tmp_path / "edgeproof/a b.py").write_text("1")
    (tmp_path / "results").mkdir()
    (tmp_path / "results/x").write_text("1")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    told = git.commit(checkout)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True).stdout.strip()
    assert told == {"id": head, "modified": []}


def test_sources_that_differ_are_named_and_results_are_not(checkout: Path) -> None:
    (checkout / "edgeproof/a b.py").write_text("2")
    (checkout / "edgeproof/new.py").write_text("2")
    (checkout / "params.yaml").write_text("2")
    (checkout / "results/x").write_text("2")
    told = git.commit(checkout)
    assert told is not None
    assert told["modified"] == ["edgeproof/a b.py", "edgeproof/new.py", "params.yaml"]


def test_a_renamed_source_is_named_once(checkout: Path) -> None:
    subprocess.run(["git", "mv", "edgeproof/a b.py", "edgeproof/c.py"], cwd=checkout, check=True)
    told = git.commit(checkout)
    assert told is not None
    assert told["modified"] == ["edgeproof/c.py"]


def test_outside_a_repository_there_is_no_commit(tmp_path: Path) -> None:
    assert git.commit(tmp_path) is None
    assert git.known("HEAD", tmp_path) is None


def test_a_revision_is_found_by_its_beginning_and_an_unknown_one_is_none(checkout: Path) -> None:
    told = git.commit(checkout)
    assert told is not None
    assert git.known(told["id"][:8], checkout) == told["id"]
    assert git.known("ffffffff", checkout) is None
    assert git.known("--all", checkout) is None


def test_gits_own_words_reach_the_user(checkout: Path) -> None:
    with pytest.raises(EdgeproofError, match=r"git rev-parse failed: .*nowhere"):
        git.git("rev-parse", "nowhere", cwd=checkout)
