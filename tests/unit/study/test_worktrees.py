"""Worktrees of other studies: they obey the DVC settings of the main checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from dvc.config import Config

from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.study import worktrees

WORKTREE = Path(".edgeproof/studies/other")
IGNORED = ".edgeproof/\n.dvc/config.local\n.dvc/cache\n.dvc/tmp\n/out\n"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in a git checkout with the DVC settings of this project, and no settings of the user."""
    root = tmp_path / "checkout"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc/config").write_text('[core]\n    analytics = false\n[cache]\n    type = "reflink,copy"\n')
    (root / "dvc.yaml").write_text("stages:\n  one:\n    cmd: echo 1 > out\n    outs: [out]\n")
    (root / ".gitignore").write_text(IGNORED)
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", *command], check=True)
    return root


def run_dvc(*words: str, directory: Path = Path()) -> str:
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout.strip()


def read_settings() -> Config:
    """Read the settings of the worktree as DVC does."""
    return Config(str(WORKTREE.resolve() / ".dvc"))


def test_a_worktree_uses_the_default_cache_of_the_main_checkout(checkout: Path) -> None:
    worktrees.refresh(WORKTREE)
    assert read_settings()["cache"]["dir"] == str(checkout / ".dvc/cache")
    assert read_settings()["cache"]["type"] == ["reflink", "copy"]


def test_a_worktree_uses_the_local_cache_directory_and_link_type_of_the_main_checkout(checkout: Path) -> None:
    elsewhere = checkout.parent / "elsewhere"
    run_dvc("cache", "dir", "--local", str(elsewhere))
    run_dvc("config", "--local", "cache.type", "hardlink,copy")
    worktrees.refresh(WORKTREE)
    assert read_settings()["cache"]["type"] == ["hardlink", "copy"]
    run_dvc("repro", "-q", directory=WORKTREE)
    assert (WORKTREE / "out").read_text() == "1\n"
    assert [path for path in elsewhere.rglob("*") if path.is_file()]
    assert not (checkout / ".dvc/cache").exists()
    assert not (WORKTREE / ".dvc/cache").exists()


def test_relative_paths_of_the_main_checkout_lead_to_the_same_place_from_a_worktree(checkout: Path) -> None:
    (checkout / ".dvc/config").write_text(
        "[core]\n    remote = storage\n[cache]\n    dir = ../../elsewhere\n"
        "['remote \"storage\"']\n    url = ../../storage\n"
    )
    (checkout / ".dvc/config.local").write_text(
        "['remote \"web\"']\n    url = https://example.org/x\n    password = secret\n"
    )
    worktrees.refresh(WORKTREE)
    settings = read_settings()
    assert Path(settings["cache"]["dir"]).resolve() == checkout.parent / "elsewhere"
    assert Path(settings["remote"]["storage"]["url"]).resolve() == checkout.parent / "storage"
    assert settings["core"]["remote"] == "storage"
    assert settings["remote"]["web"]["password"] == "secret"
    assert (WORKTREE / ".dvc/config.local").stat().st_mode & 0o077 == 0


def test_a_cache_directory_of_the_user_applies_to_worktrees(checkout: Path) -> None:
    path = Path(Config.get_dir("global"), "config")
    assert path.is_relative_to(checkout.parent)
    path.parent.mkdir(parents=True)
    path.write_text(f"[cache]\n    dir = {checkout.parent / 'mine'}\n")
    worktrees.refresh(WORKTREE)
    assert read_settings()["cache"]["dir"] == str(checkout.parent / "mine")


def test_settings_that_change_or_were_cut_off_are_written_again(checkout: Path) -> None:
    (checkout / ".dvc/config.local").write_text(f"[cache]\n    dir = {checkout.parent / 'a'}\n")
    worktrees.refresh(WORKTREE)
    assert read_settings()["cache"]["dir"] == str(checkout.parent / "a")
    (checkout / ".dvc/config.local").unlink()
    (WORKTREE / ".dvc/config.local").write_text("[cac")
    worktrees.refresh(WORKTREE)
    assert read_settings()["cache"]["dir"] == str(checkout / ".dvc/cache")


def test_wrong_settings_are_a_config_error(checkout: Path) -> None:
    (checkout / ".dvc/config.local").write_text("[cache]\n    type = teleport\n")
    with pytest.raises(ConfigError, match=r"settings of DVC in \.dvc are wrong.*Edit them with 'dvc config'"):
        worktrees.refresh(WORKTREE)


def test_the_settings_of_a_worktree_are_not_part_of_its_experiments(checkout: Path) -> None:
    worktrees.refresh(WORKTREE)
    worktrees.save_experiment(WORKTREE, "one")
    listing = subprocess.run(
        ["git", "for-each-ref", "--format=%(objectname)", "refs/exps"], capture_output=True, text=True, check=True
    ).stdout.split()
    names = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", listing[0]], capture_output=True, text=True, check=True
    )
    assert ".dvc/config" in names.stdout.split()
    assert ".dvc/config.local" not in names.stdout.split()


def test_outside_a_git_checkout_a_worktree_is_an_error_with_the_command_that_creates_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgeproofError, match="git init"):
        worktrees.refresh(WORKTREE)
