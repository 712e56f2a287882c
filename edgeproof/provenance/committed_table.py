"""Read a table from a commit of the repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeproof.core.errors import EdgeproofError
from edgeproof.report import table_json
from edgeproof.report.row import Row
from edgeproof.study.git import resolve_commit, run_git


@dataclass(frozen=True)
class CommittedTable:
    """The rows of a table in a commit; none if the commit does not have the file."""

    commit: str
    rows: list[Row]
    exists: bool


def read_committed_table(path: Path, revision: str) -> CommittedTable:
    """Return a table as it was where the present branch left a revision, such as a branch or a commit.

    Later commits of that branch are not part of the present one, so their changes are not shown.

    Raises EdgeproofError for a revision that git does not have, and ConfigError for a damaged table.
    """
    commit = resolve_commit(revision)
    if commit is None:
        raise EdgeproofError(
            f"git has no revision '{revision}'. Fetch it with 'git fetch', or name another one: "
            "edgeproof report pr --against REVISION"
        )
    commit = _find_common_commit(commit)
    relative = f"./{path.as_posix()}" if not path.is_absolute() else _make_relative(path)
    if not run_git("ls-tree", "--name-only", commit, "--", relative):
        return CommittedTable(commit, [], exists=False)
    text = run_git("show", f"{commit}:{relative}")
    return CommittedTable(commit, table_json.parse_table(text, f"{path} at {commit[:12]}")[1], exists=True)


def _find_common_commit(commit: str) -> str:
    """Return the last common commit of HEAD and another one, or the other one itself if the clone is too shallow."""
    try:
        return run_git("merge-base", "HEAD", commit)
    except EdgeproofError:
        return commit


def _make_relative(path: Path) -> str:
    """Return an absolute path relative to the working directory. Raises EdgeproofError for one outside of it."""
    here = Path.cwd()
    if not path.resolve().is_relative_to(here.resolve()):
        raise EdgeproofError(f"{path} is outside of {here}, so git cannot find it there. Go to its project first.")
    return f"./{path.resolve().relative_to(here.resolve()).as_posix()}"
