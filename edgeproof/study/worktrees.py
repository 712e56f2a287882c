"""Git worktrees with the working tree's files and the same DVC cache: where a study runs beside the committed one."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeproof.core import plugins
from edgeproof.core.directories import sha256_of, write_text
from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import WORK
from edgeproof.study.git import git, known

# Files that belong to a study's own run and are never overwritten from the committed one.
OWN = ("params.yaml", "dvc.lock", "results/")
# What decides a study's outcome beside its params.yaml.
CODE = ("edgeproof", "stages", "devices", "dvc.yaml", "requirements.lock")
# What a machine commits; nobody's name has to be known for it.
AUTHOR = {f"GIT_{who}_{what}": "edgeproof" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def refresh(directory: Path, source: Path = Path()) -> None:
    """Create or refresh a worktree of HEAD, then bring whatever the tree at `source` has changed since.

    Raises EdgeproofError outside a git checkout.
    """
    head = known("HEAD")
    if head is None:
        raise EdgeproofError("another study than the committed one needs a git checkout with at least one commit.")
    if not _is_whole(directory):
        shutil.rmtree(directory, ignore_errors=True)
        git("worktree", "prune")
        directory.parent.mkdir(parents=True, exist_ok=True)
        git("worktree", "add", "--detach", "--no-checkout", str(directory), head)
        (directory / "results").mkdir(parents=True, exist_ok=True)
    git("reset", "--quiet", "--mixed", head, cwd=directory)
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=source).split("\0")
    ours = {name for name in listed if name and not name.startswith(OWN) and (source / name).is_file()}
    theirs = set(git("ls-files", "--cached", "-z", cwd=directory).split("\0")) - {""}
    for name in theirs - ours:
        if not name.startswith(OWN):
            (directory / name).unlink(missing_ok=True)
    for name in ours:
        _copy_if_different(source / name, directory / name)
    bring_ways(directory, source)
    local = f"[cache]\n    dir = {Path('.dvc/cache').resolve()}\n    type = reflink,copy\n"
    write_text(directory / ".dvc" / "config.local", local)


def bring_ways(directory: Path, source: Path = Path()) -> None:
    """Bring how devices are reached where it is not the user's ~/.ssh/config that says it: git ignores these files."""
    for path in sorted((source / WORK / "devices").glob("*/ssh_config")):
        _copy_if_different(path, directory / path.relative_to(source))


def code_sha256(directory: Path) -> str:
    """One hash over every file that decides what a study's stages do, plugins from outside among them."""
    roots = [directory / name for name in CODE] + plugins.outside_roots()
    digest = hashlib.sha256()
    for root in roots:
        for path in sorted([root] if root.is_file() else root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root.parent).as_posix()} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def changed_since_head(paths: Sequence[str] = (*CODE, "conf")) -> list[str]:
    """Files that decide a study's outcome and differ from the last commit, or are not in it."""
    changed = git("diff", "--name-only", "-z", "HEAD", "--", *paths)
    added = git("ls-files", "--others", "--exclude-standard", "-z", "--", *paths)
    return sorted({*changed.split("\0"), *added.split("\0")} - {""})


def save_experiment(directory: Path, name: str) -> None:
    """Keep a worktree's files as the DVC experiment `name` of its commit, in place of one of that name.

    An experiment is a commit under a name that DVC looks for. DVC's own way stashes the files, hashes every output
    again and collides with itself; this takes a private index and one atomic update.
    """
    head = git("rev-parse", "HEAD", cwd=directory)
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
        git("read-tree", "HEAD", cwd=directory, more=index)
        git("add", "--all", cwd=directory, more=index)
        tree = git("write-tree", cwd=directory, more=index)
    commit = git("commit-tree", tree, "-p", head, "-m", f"sweep: {name}", cwd=directory, more=AUTHOR)
    git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", commit, cwd=directory)


def _is_whole(directory: Path) -> bool:
    """Whether a worktree stands there, with git's own half of it; what a killed git left locked is set free."""
    pointer = directory / ".git"
    if not pointer.is_file():
        return False
    own_half = Path(pointer.read_text(encoding="utf-8").removeprefix("gitdir: ").strip())
    (own_half / "index.lock").unlink(missing_ok=True)
    return (own_half / "HEAD").is_file()


def _copy_if_different(source: Path, target: Path) -> None:
    content = source.read_bytes()
    if target.is_file() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
