"""Write a new project: a study that runs at once, with a task, a network and a method of the user's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

from edgeproof import entry
from edgeproof.config import compose, params_file
from edgeproof.core.directories import write_bytes, write_text
from edgeproof.core.errors import EdgeproofError
from edgeproof.study.git import run_git

TEMPLATE = Path(__file__).parent / "template"
# Files that have another name in the template, so that git, DVC and packaging tools do not treat them as their own.
RENAMED = {
    "pipeline.yaml": "dvc.yaml",
    "gitignore": ".gitignore",
    "dvcignore": ".dvcignore",
    "workflow.yml": ".github/workflows/edgeproof.yml",
}
# Files that many directories have already. They are kept; missing lines are added to those of EXTENDED.
KEPT = ("README.md",)
EXTENDED = (".gitignore", ".dvcignore")


def init(directory: Path) -> list[str]:
    """Write a project into `directory`, which is made if it does not exist, with a git and a DVC repository.

    Existing repositories are used. Returns the paths of the files that were written, relative to the directory. Raises
    EdgeproofError before anything is written if a file is in the way, and when git or DVC fails.
    """
    files = dict(_read_template())
    _refuse_existing(directory, files)
    directory.mkdir(parents=True, exist_ok=True)
    with chdir(directory):
        _init_repositories()
        written = [name for name, content in files.items() if _write(Path(name), content)]
        params_file.write_params(compose.compose())
    return [*written, "params.yaml"]


def _read_template() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file of a project."""
    for path in sorted(TEMPLATE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(TEMPLATE).as_posix()
            yield RENAMED.get(name, name), path.read_bytes()


def _refuse_existing(directory: Path, files: dict[str, bytes]) -> None:
    if directory.exists() and not directory.is_dir():
        raise EdgeproofError(f"{directory} is a file. Name a directory: edgeproof init DIR")
    names = [name for name in (*files, "params.yaml") if name not in (*KEPT, *EXTENDED)]
    existing = [name for name in names if os.path.lexists(directory / name)]
    if existing:
        raise EdgeproofError(
            f"{directory.resolve()} already has {', '.join(existing[:5])}{' …' if len(existing) > 5 else ''}. "
            "Nothing was written. Move these files away, or name another directory: edgeproof init DIR"
        )


def _write(path: Path, content: bytes) -> bool:
    """Write a file, or the lines that it lacks. Return False if nothing was to be done."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
        return True
    if path.as_posix() not in EXTENDED:
        return False
    present = path.read_text(encoding="utf-8").splitlines()
    missing = [line for line in content.decode().splitlines() if line not in present]
    if missing:
        write_text(path, "\n".join([*present, *missing]) + "\n")
    return bool(missing)


def _init_repositories() -> None:
    """Make the working directory part of a git and a DVC repository, unless it is part of them already."""
    try:
        run_git("rev-parse", "--is-inside-work-tree")
    except EdgeproofError:
        run_git("init", "--quiet")
    if Path(".dvc").is_dir():
        return
    below = ["--subdir"] if run_git("rev-parse", "--show-prefix") else []
    _run_dvc("init", "--quiet", *below)
    for setting in (("core.analytics", "false"), ("core.autostage", "false"), ("cache.type", "reflink,copy")):
        _run_dvc("config", *setting)


def _run_dvc(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        env=entry.build_environment(),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise EdgeproofError(f"dvc {arguments[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
