"""Running a study through DVC: the committed one in place, any other in a worktree of its own that shares the cache.

One dvc.yaml has one dvc.lock, so another study never runs over the committed one: it gets .edgeproof/studies/<name>,
with the same files and the same DVC cache, and its tables are copied to results/studies/<name>.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import config, entry
from .core.directories import write_json, written_whole
from .core.errors import EdgeproofError
from .params import FAMILIES, Params, load
from .paths import TABLES, WORK

WORKTREES = WORK / "studies"
OUTCOMES = Path("results/studies")
DURATIONS = WORK / "durations.json"
# Files that belong to a study's own run and are never overwritten from the committed one.
OWN = ("params.yaml", "dvc.lock", "results/")
GUESS_S = {
    "prepare": 10,
    "train": 120,
    "distill": 90,
    "prune": 60,
    "quantize": 30,
    "export": 12,
    "bench": 60,
    "report": 5,
}
_RUNNING = re.compile(r"^Running stage '([^']+)'")
_SKIPPED = re.compile(r"^Stage '([^']+)' (didn't change|is cached)")


def repro(study: str | None, overrides: Sequence[str] = ()) -> int:
    """Run a study and print its table; returns DVC's exit code. Raises EdgeproofError."""
    if study in (None, config.default_study()) and not overrides:
        return _repro_in_place()
    params = config.compose(study, overrides)
    directory = _worktree(params.study)
    config.write(params, " ".join([f"study={params.study}", *overrides]), directory / "params.yaml")
    code = _dvc_repro(directory, params)
    if code == 0:
        with written_whole(OUTCOMES / params.study) as out:
            shutil.copytree(directory / "results", out, dirs_exist_ok=True)
        _print_table(OUTCOMES / params.study / "tables", params.study)
    return code


def _repro_in_place() -> int:
    if config.edited_by_hand():
        print("params.yaml was edited by hand: running it as it is ('edgeproof compose' writes the study's again).")
        params = load()
    else:
        params = config.compose()
        config.write(params)
    code = _dvc_repro(Path(), params)
    if code == 0:
        _print_table(TABLES, params.study)
    return code


def _print_table(tables: Path, study: str) -> None:
    print((tables / "table.md").read_text(encoding="utf-8"))
    print(f"Study '{study}'. Tables: {tables}/  plots: {tables.parent / 'plots'}/")


# --- running DVC with an estimate --------------------------------------------------------------------------------


def _dvc_repro(directory: Path, params: Params) -> int:
    """Run `dvc repro`, adding to each stage it starts which of how many it is and how long the rest may take."""
    expected = _stages(params)
    durations = _read_durations()
    left = dict.fromkeys(expected)
    environment = {
        **os.environ,
        **entry.QUIET,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    current, started, begin = "", time.monotonic(), time.monotonic()
    command = [sys.executable, "-m", "dvc", "repro"]
    with subprocess.Popen(
        command, cwd=directory or None, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                found = _RUNNING.match(line) or _SKIPPED.match(line)
                if found:
                    _note(durations, current, started)
                    name = found.group(1)
                    ran = line.startswith("Running")
                    current, started = name if ran else "", time.monotonic()
                    left.pop(name, None)
                    if ran:
                        done = len(expected) - len(left)
                        rest = sum(_estimate(durations, stage) for stage in [*left, name])
                        elapsed = _clock(time.monotonic() - begin)
                        print(
                            f"[{done}/{len(expected)}] {name}  ({elapsed} passed, about {_clock(rest)} left)",
                            flush=True,
                        )
                elif not line.startswith(("> ", "Updating lock", "Generating lock", "Use `dvc push`", "\n")):
                    print(line, end="", flush=True)
        except KeyboardInterrupt:  # the terminal sent it to DVC too, which ends by itself
            process.wait()
            raise
        except BaseException:
            process.terminate()
            process.wait()
            raise
    _note(durations, current, started)
    write_json(DURATIONS, durations)
    return process.returncode


def _stages(params: Params) -> list[str]:
    families = [*FAMILIES, "export", "bench"]
    return ["prepare", *(f"{family}@{key}" for family in families for key in getattr(params, family)), "report"]


def _read_durations() -> dict[str, float]:
    try:
        found: dict[str, float] = json.loads(DURATIONS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _note(durations: dict[str, float], stage: str, started: float) -> None:
    if stage:
        durations[stage] = round(time.monotonic() - started, 1)


def _estimate(durations: dict[str, float], stage: str) -> float:
    return durations.get(stage, GUESS_S[stage.partition("@")[0]])


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


# --- a worktree of its own ---------------------------------------------------------------------------------------


def _worktree(study: str) -> Path:
    """Create or refresh the study's worktree: HEAD's files, then whatever the working tree has changed since."""
    directory = WORKTREES / study
    head = _git("rev-parse", "HEAD")
    if not (directory / ".git").exists():
        _git("worktree", "prune")
        directory.parent.mkdir(parents=True, exist_ok=True)
        _git("worktree", "add", "--detach", "--no-checkout", str(directory), head)
        (directory / "results").mkdir(parents=True, exist_ok=True)
    _git("reset", "--quiet", "--mixed", head, cwd=directory)
    ours = set(_git("ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")) - {""}
    ours = {name for name in ours if not name.startswith(OWN) and Path(name).is_file()}
    theirs = set(_git("ls-files", "--cached", "-z", cwd=directory).split("\0")) - {""}
    for name in theirs - ours:
        if not name.startswith(OWN):
            (directory / name).unlink(missing_ok=True)
    for name in ours:
        _copy_if_different(Path(name), directory / name)
    local = f"[cache]\n    dir = {Path('.dvc/cache').resolve()}\n    type = reflink,copy\n"
    (directory / ".dvc").mkdir(exist_ok=True)
    (directory / ".dvc" / "config.local").write_text(local, encoding="utf-8")
    return directory


def _copy_if_different(source: Path, target: Path) -> None:
    content = source.read_bytes()
    if target.is_file() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _git(*arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EdgeproofError(
            f"git {arguments[0]} failed: {done.stderr.strip()}. Another study than the committed one needs a git "
            "checkout with at least one commit."
        )
    return done.stdout.strip()
