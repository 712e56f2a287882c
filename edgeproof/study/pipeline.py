"""Run the stages of a worktree through DVC's Python API, which only dvc_config.py uses too.

Worktrees share a cache. Before a stage runs, its process takes a file lock whose name is a digest of everything that
decides the stage's outputs. A process that waited for the lock finds the outputs in the cache, so parallel worktrees
run a shared stage once. DVC's version is pinned, because its API may change.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from dvc.exceptions import DvcException, ReproductionError
from dvc.repo import Repo
from dvc.stage import Stage
from dvc.stage.serialize import to_lockfile

from edgeproof.core import file_locks
from edgeproof.core.directories import write_text
from edgeproof.core.errors import EdgeproofError
from edgeproof.devices import locks

BENCH = "bench"
LOCK = Path("dvc.lock")
# The stage ran, its outputs came from the cache, or they were up to date.
StageOutcome = Literal["ran", "cached", "unchanged"]


class StageFailedError(EdgeproofError):
    """A stage's command failed, or DVC could not run it."""


@dataclass(frozen=True)
class StageRun:
    """The result of one stage: its DVC name, the digest of everything that decides its outputs, and its duration."""

    stage: str
    key: str
    outcome: StageOutcome
    seconds: float


def run(directory: Path, lock_directory: Path, note: Callable[[StageRun], None], targets: Sequence[str] = ()) -> None:
    """Bring the stages `targets` of the pipeline in `directory` up to date. No targets mean all stages.

    Calls `note` after each stage. Raises StageFailedError with the stage's name; stages that ended before are kept.
    """
    reproduce = functools.partial(_reproduce_once, lock_directory=lock_directory, note=note)
    try:
        # DVC takes names of stages from the dvc.yaml of the working directory.
        with contextlib.chdir(directory), Repo() as repo:
            repo.reproduce(targets=list(targets) or None, repro_fn=reproduce)
    except ReproductionError as error:
        raise StageFailedError(f"{error}: {error.__cause__}") from None
    except DvcException as error:
        raise StageFailedError(str(error)) from None


def _reproduce_once(
    stage: Stage, *, lock_directory: Path, note: Callable[[StageRun], None], **kwargs: Any
) -> Stage | None:
    """Reproduce one stage while no other worktree reproduces the same one."""
    key = _digest_inputs(stage)
    bench = stage.addressing.partition("@")[0] == BENCH
    with (
        file_locks.hold(lock_directory / key),
        nullcontext() if bench else locks.hold_for_building(),
        _record_commands() as commands,
    ):
        started = time.monotonic()
        reproduced: Stage | None = stage.reproduce(**kwargs)
        if reproduced is not None:
            _write_to_lock_file(reproduced)
        outcome: StageOutcome = "unchanged" if reproduced is None else "ran" if commands else "cached"
        if outcome == "ran":
            # DVC does not save stages with outputs in git, such as tables, in its run-cache, but it restores them.
            stage.repo.stage_cache.save(stage)
        note(StageRun(stage.addressing, key, outcome, round(time.monotonic() - started, 3)))
    return reproduced


def _write_to_lock_file(stage: Stage) -> None:
    """Put a stage into dvc.lock. DVC's own function keeps comments, which takes most of the time of a cached stage."""
    with _edit_lock_file(LOCK) as stages:
        stages.update(json.loads(json.dumps(to_lockfile(stage))))


def forget_other_stages(directory: Path, stages: Collection[str]) -> None:
    """Remove all stages but these from the dvc.lock of the pipeline in `directory`."""
    with _edit_lock_file(directory / LOCK) as entries:
        for other in entries.keys() - stages:
            del entries[other]


@contextmanager
def _edit_lock_file(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the stages of a dvc.lock, or of a new one, and write them back."""
    content: dict[str, Any] = {"schema": "2.0", "stages": {}}
    if path.is_file():
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    yield content["stages"]
    write_text(path, yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False))


def _digest_inputs(stage: Stage) -> str:
    """Return a digest of a stage's command, dependencies and outputs. DVC's run-cache key needs a saved stage."""
    depends = [(dep.def_path, dep.get_hash().value) for dep in stage.deps]
    content = [stage.cmd, depends, [out.def_path for out in stage.outs]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextmanager
def _record_commands() -> Iterator[list[str]]:
    """Yield a list that collects the commands that DVC starts. Only its log shows whether a stage ran."""
    logger = logging.getLogger("dvc.stage.run")
    started: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.msg == "%s %s":
                started.append(record.getMessage())

    handler, level = Collector(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield started
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
