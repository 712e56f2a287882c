"""Run a study through DVC: the committed one in place, any other one in a worktree of its own.

One dvc.yaml has one dvc.lock, so another study must not run over the committed one. It runs in
.edgeproof/studies/<name>, with the same files and the same DVC cache, and its tables are copied to
results/studies/<name>.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from edgeproof.config import compose, params_file
from edgeproof.config.params import Params
from edgeproof.core.directories import write_atomically
from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import TABLES, WORK
from edgeproof.study import plan, worktrees
from edgeproof.study.dvc_command import run_dvc_repro
from edgeproof.study.own_files import link_own_files

WORKTREES = WORK / "studies"
RESULTS = Path("results/studies")
# Files in git that a run of the committed study writes.
WRITTEN_FILES = ("results", "dvc.lock", "params.yaml")


def print_markdown_table(tables: Path) -> None:
    """Print table.md of a directory of tables."""
    print((tables / "table.md").read_text(encoding="utf-8"))


def run_study(
    study: str | None,
    overrides: Sequence[str] = (),
    *,
    params: Params | None = None,
    print_table: Callable[[Path], None] = print_markdown_table,
) -> int:
    """Run a study (None: the committed one), print its table and return DVC's exit code.

    `params` are those of `choose_params`, if the caller has composed them. `print_table` prints the table in a
    directory of tables. Raises EdgeproofError.
    """
    params = params or choose_params(study, overrides)
    if is_committed_study(study, overrides):
        return _run_in_place(params, print_table)
    directory = WORKTREES / params.study
    worktrees.refresh(directory)
    params_file.write_params(params, " ".join([f"study={params.study}", *overrides]), directory / "params.yaml")
    link_own_files(params, directory)
    code = run_dvc_repro(directory, list(plan.list_stages(params)))
    if code == 0:
        with write_atomically(RESULTS / params.study) as out:
            shutil.copytree(directory / "results", out, dirs_exist_ok=True)
            shutil.copyfile(directory / params_file.PARAMS, out / params_file.PARAMS)
        _print_results(RESULTS / params.study / "tables", params.study, print_table)
    return code


def is_committed_study(study: str | None, overrides: Sequence[str] = ()) -> bool:
    """Return True for the committed study without overrides, which runs in place."""
    return study in (None, compose.read_default_study()) and not overrides


def choose_params(study: str | None, overrides: Sequence[str] = ()) -> Params:
    """Return the params that `run_study` would run: of the committed study those of a params.yaml edited by hand."""
    if is_committed_study(study, overrides):
        return params_file.read_params() if params_file.is_edited_by_hand() else compose.compose()
    return compose.compose(study, overrides)


def read_last_params(study: str) -> Params | None:
    """Return the params of a study whose tables are in results/studies, or None if they are unknown."""
    path = RESULTS / study / params_file.PARAMS
    return params_file.read_params(path) if path.is_file() else None


def locate_study(params: Params) -> Path:
    """Return the directory in which a study is built: this one for the committed study, else its worktree."""
    return Path() if params.study == compose.read_default_study() else WORKTREES / params.study


def _run_in_place(params: Params, print_table: Callable[[Path], None]) -> int:
    if params_file.is_edited_by_hand():
        print("params.yaml was edited by hand and is used as it is. To write the study's own again: edgeproof compose")
        params = params_file.read_params()
    else:
        params_file.write_params(params)
    code = run_dvc_repro(Path(), list(plan.list_stages(params)))
    if code == 0:
        _print_results(TABLES, params.study, print_table)
        print(explain_changes())
    return code


def explain_changes() -> str:
    """Return the differences between the last commit and the files that a run writes, and how to commit or undo them.

    The text is empty outside a git checkout.
    """
    try:
        files = worktrees.list_changes_since_head(WRITTEN_FILES)
    except EdgeproofError:
        return ""
    if not files:
        return "No file in git changed."
    counts = {name: sum(file == name or file.startswith(f"{name}/") for file in files) for name in WRITTEN_FILES}
    changed = [name for name, count in counts.items() if count]
    listing = ", ".join(f"{name}/ ({counts[name]} files)" if name == "results" else name for name in changed)
    names = " ".join(changed)
    return (
        f"Changed since the last commit: {listing}.\n"
        f"To keep this: git add {names} && git commit. To undo it: git checkout HEAD -- {names} && dvc checkout"
    )


def _print_results(tables: Path, study: str, print_table: Callable[[Path], None]) -> None:
    print_table(tables)
    print(f"Study '{study}'. Tables: {tables}/  plots: {tables.parent / 'plots'}/")
