"""The commit that is checked out, and the source files that differ from it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from edgeproof.core.errors import EdgeproofError
from edgeproof.study import git


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with one commit."""
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


def test_a_clean_checkout_has_a_commit_and_no_modified_files(checkout: Path) -> None:
    commit = git.describe_commit(checkout)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True).stdout.strip()
    assert commit == {"id": head, "modified": []}


def test_modified_files_include_sources_but_not_results(checkout: Path) -> None:
    (checkout / "edgeproof/a b.py").write_text("2")
    (checkout / "edgeproof/new.py").write_text("2")
    (checkout / "params.yaml").write_text("2")
    (checkout / "results/x").write_text("2")
    commit = git.describe_commit(checkout)
    assert commit is not None
    assert commit["modified"] == ["edgeproof/a b.py", "edgeproof/new.py", "params.yaml"]


def test_a_renamed_source_is_listed_once(checkout: Path) -> None:
    subprocess.run(["git", "mv", "edgeproof/a b.py", "edgeproof/c.py"], cwd=checkout, check=True)
    commit = git.describe_commit(checkout)
    assert commit is not None
    assert commit["modified"] == ["edgeproof/c.py"]


def test_outside_a_repository_there_is_no_commit(tmp_path: Path) -> None:
    assert git.describe_commit(tmp_path) is None
    assert git.resolve_commit("HEAD", tmp_path) is None


def test_a_revision_is_resolved_by_its_first_digits_and_an_unknown_one_is_none(checkout: Path) -> None:
    commit = git.describe_commit(checkout)
    assert commit is not None
    assert git.resolve_commit(commit["id"][:8], checkout) == commit["id"]
    assert git.resolve_commit("ffffffff", checkout) is None
    assert git.resolve_commit("--all", checkout) is None


def test_an_error_shows_the_message_of_git(checkout: Path) -> None:
    with pytest.raises(EdgeproofError, match=r"git rev-parse failed: .*nowhere"):
        git.run_git("rev-parse", "nowhere", cwd=checkout)


@pytest.fixture
def foreign_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository that git takes for another user's. The variable is that of git's own tests."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    git._warn_once.cache_clear()
    return checkout


def test_the_checkout_of_another_user_has_no_commit_and_one_warning_with_the_command_that_allows_it(
    foreign_checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert git.describe_commit(foreign_checkout) is None
    assert git.describe_commit(foreign_checkout) is None
    warning = capsys.readouterr().err
    assert warning.count("warning: ") == 1
    assert f"git config --global --add safe.directory {foreign_checkout}\n" in warning


def test_the_command_of_the_warning_lets_git_read_the_checkout(
    foreign_checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(git.ForeignCheckoutError) as failure:
        git.resolve_commit("HEAD", foreign_checkout)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    subprocess.run(str(failure.value).partition("To allow it: ")[2], shell=True, check=True)
    assert git.resolve_commit("HEAD", foreign_checkout)
