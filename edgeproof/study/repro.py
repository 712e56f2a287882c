"""Running a study through DVC: the committed one in place, any other in a worktree of its own that shares the cache.

One dvc.yaml has one dvc.lock, so another study never runs over the committed one: it gets .edgeproof/studies/<name>,
with the same files and the same DVC cache, and its tables are copied to results/studies/<name>.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeproof import entry
from edgeproof.config import compose
from edgeproof.config.params import Params, load
from edgeproof.core.directories import write_json, written_whole
from edgeproof.paths import TABLES, WORK
from edgeproof.study import plan, worktrees

WORKTREES = WORK / "studies"
OUTCOMES = Path("results/studies")
DURATIONS = WORK / "durations.json"
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
    if study in (None, compose.default_study()) and not overrides:
        return _repro_in_place()
    params = compose.compose(study, overrides)
    directory = WORKTREES / params.study
    worktrees.refresh(directory)
    compose.write(params, " ".join([f"study={params.study}", *overrides]), directory / "params.yaml")
    code = _dvc_repro(directory, params)
    if code == 0:
        with written_whole(OUTCOMES / params.study) as out:
            shutil.copytree(directory / "results", out, dirs_exist_ok=True)
        _print_table(OUTCOMES / params.study / "tables", params.study)
    return code


def place(params: Params) -> Path:
    """Where a study is built: the committed one here, any other in its worktree."""
    return Path() if params.study == compose.default_study() else WORKTREES / params.study


def _repro_in_place() -> int:
    if compose.edited_by_hand():
        print("params.yaml was edited by hand: running it as it is ('edgeproof compose' writes the study's again).")
        params = load()
    else:
        params = compose.compose()
        compose.write(params)
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
    expected = list(plan.stages(params))
    durations = read_durations()
    left = dict.fromkeys(expected)
    current, started, begin = "", time.monotonic(), time.monotonic()
    command = [sys.executable, "-m", "dvc", "repro"]
    with subprocess.Popen(
        command, cwd=directory or None, env=entry.environment(), stdout=subprocess.PIPE, text=True
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
                        rest = sum(estimate_s(durations, stage) for stage in [*left, name])
                        elapsed = clock(time.monotonic() - begin)
                        print(
                            f"[{done}/{len(expected)}] {name}  ({elapsed} passed, about {clock(rest)} left)",
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


def read_durations() -> dict[str, float]:
    """Seconds that each stage took when it last ran here."""
    try:
        found: dict[str, float] = json.loads(DURATIONS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _note(durations: dict[str, float], stage: str, started: float) -> None:
    if stage:
        durations[stage] = round(time.monotonic() - started, 1)


def estimate_s(durations: Mapping[str, float], stage: str) -> float:
    """Seconds that a stage may take."""
    return durations.get(stage, GUESS_S[stage.partition("@")[0]])


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
