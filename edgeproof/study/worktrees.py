"""Git worktrees in which other studies run, with this tree's files and the same DVC cache."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeproof.core import plugins
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import WORK
from edgeproof.study import dvc_config
from edgeproof.study.git import resolve_commit, run_git

# Files of the study that runs in a worktree. They are never overwritten with those of the committed study.
STUDY_FILES = ("params.yaml", "dvc.lock", "results/")
# Files that decide the results of a study, in addition to its params.yaml.
CODE = ("edgeproof", "stages", "plugins", "devices", "dvc.yaml", "requirements.lock")
# The author of commits that edgeproof makes, so that git needs no user name.
AUTHOR = {f"GIT_{who}_{what}": "edgeproof" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def refresh(directory: Path, source: Path = Path()) -> None:
    """Create or update a worktree of HEAD and copy the uncommitted changes of the tree at `source` into it.

    Raises EdgeproofError outside a git checkout.
    """
    head = resolve_commit("HEAD")
    if head is None:
        raise EdgeproofError(
            "only the committed study can run here: another one needs a git checkout with at least one commit. "
            "Create one: git init && git add . && git commit"
        )
    if not _is_whole(directory):
        shutil.rmtree(directory, ignore_errors=True)
        run_git("worktree", "prune")
        directory.parent.mkdir(parents=True, exist_ok=True)
        run_git("worktree", "add", "--detach", "--no-checkout", str(directory), head)
        (directory / "results").mkdir(parents=True, exist_ok=True)
    run_git("reset", "--quiet", "--mixed", head, cwd=directory)
    names = run_git("ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=source).split("\0")
    ours = {name for name in names if name and not name.startswith(STUDY_FILES) and (source / name).is_file()}
    theirs = set(run_git("ls-files", "--cached", "-z", cwd=directory).split("\0")) - {""}
    for name in theirs - ours:
        if not name.startswith(STUDY_FILES):
            (directory / name).unlink(missing_ok=True)
    for name in ours:
        _copy_if_different(source / name, directory / name)
    copy_ssh_configs(directory, source)
    dvc_config.write_local_config(directory)


def copy_ssh_configs(directory: Path, source: Path = Path()) -> None:
    """Copy the ssh configurations of devices that are not in ~/.ssh/config, such as the emulated board's."""
    for path in sorted((source / WORK / "devices").glob("*/ssh_config")):
        _copy_if_different(path, directory / path.relative_to(source))


def hash_code(directory: Path) -> str:
    """Return one SHA-256 of all files that decide what the stages do, including external plugins."""
    roots = [root for name in CODE if (root := directory / name).exists()] + plugins.list_external_roots()
    digest = hashlib.sha256()
    for root in roots:
        for path in sorted([root] if root.is_file() else root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root.parent).as_posix()} {hash_file(path)}\n".encode())
    return digest.hexdigest()


def list_changes_since_head(paths: Sequence[str] = (*CODE, "conf")) -> list[str]:
    """Return the files below `paths` that differ from the last commit or are not in it. Raises EdgeproofError."""
    changed = run_git("diff", "--name-only", "-z", "HEAD", "--", *paths)
    added = run_git("ls-files", "--others", "--exclude-standard", "-z", "--", *paths)
    return sorted({*changed.split("\0"), *added.split("\0")} - {""})


def save_experiment(directory: Path, name: str) -> None:
    """Save a worktree's files as the DVC experiment `name` of its commit. An experiment of that name is replaced.

    An experiment is a commit under refs/exps. `dvc exp save` stashes the files, hashes every output again and cannot
    run twice at once, so this makes the commit with a private index and one atomic update.
    """
    head = run_git("rev-parse", "HEAD", cwd=directory)
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
        run_git("read-tree", "HEAD", cwd=directory, extra_environment=index)
        run_git("add", "--all", cwd=directory, extra_environment=index)
        tree = run_git("write-tree", cwd=directory, extra_environment=index)
    commit = run_git("commit-tree", tree, "-p", head, "-m", f"sweep: {name}", cwd=directory, extra_environment=AUTHOR)
    run_git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", commit, cwd=directory)


def _is_whole(directory: Path) -> bool:
    """Return True for a worktree that git still knows. Remove a lock that a killed git left behind."""
    pointer = directory / ".git"
    if not pointer.is_file():
        return False
    git_directory = Path(pointer.read_text(encoding="utf-8").removeprefix("gitdir: ").strip())
    (git_directory / "index.lock").unlink(missing_ok=True)
    return (git_directory / "HEAD").is_file()


def _copy_if_different(source: Path, target: Path) -> None:
    content = source.read_bytes()
    if target.is_file() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
