"""The one module that knows DVC's Python API: run the stages of a worktree, each made once however many ask for it.

Worktrees share a cache. Before a stage runs, its process takes a file lock named by everything that decides its
outputs; whoever waited for the lock finds them in the cache. Versions of DVC are pinned, and a test runs all of this.
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

from edgeproof.core.directories import write_text
from edgeproof.core.errors import EdgeproofError
from edgeproof.devices import locks

BENCH = "bench"
LOCK = Path("dvc.lock")
# Whether a stage ran, its outputs came from the cache, or they were in place.
Outcome = Literal["ran", "cached", "unchanged"]


class StageFailed(EdgeproofError):
    """A stage's command failed, or DVC could not run it."""


@dataclass(frozen=True)
class StageRun:
    """What became of one stage: its DVC name, the digest of all that decides its outputs, and seconds."""

    stage: str
    key: str
    outcome: Outcome
    seconds: float


def run(directory: Path, lock_directory: Path, note: Callable[[StageRun], None], targets: Sequence[str] = ()) -> None:
    """Bring `targets` (all stages, where none is named) of the pipeline in `directory` up to date, in lineage order.

    Raises StageFailed by the stage's name; what was finished before is kept.
    """
    reproduce = functools.partial(_once, lock_directory=lock_directory, note=note)
    try:
        # DVC takes names of stages from the dvc.yaml of the working directory.
        with contextlib.chdir(directory), Repo() as repo:
            repo.reproduce(targets=list(targets) or None, repro_fn=reproduce)
    except ReproductionError as error:
        raise StageFailed(f"{error}: {error.__cause__}") from None
    except DvcException as error:
        raise StageFailed(str(error)) from None


def _once(stage: Stage, *, lock_directory: Path, note: Callable[[StageRun], None], **kwargs: Any) -> Stage | None:
    """Reproduce one stage while no other worktree makes the same."""
    key = _key(stage)
    bench = stage.addressing.startswith(BENCH)
    with locks.held(lock_directory / key), nullcontext() if bench else locks.building(), _commands() as commands:
        started = time.monotonic()
        reproduced: Stage | None = stage.reproduce(**kwargs)
        if reproduced is not None:
            _lock(reproduced)
        outcome: Outcome = "unchanged" if reproduced is None else "ran" if commands else "cached"
        if outcome == "ran":
            # DVC leaves out a stage with outputs that git tracks, such as tables, though it restores them all the same.
            stage.repo.stage_cache.save(stage)
        note(StageRun(stage.addressing, key, outcome, round(time.monotonic() - started, 3)))
    return reproduced


def _lock(stage: Stage) -> None:
    """Put a stage into dvc.lock. DVC's own way keeps comments, which takes most of a cached point's time."""
    with _locked_stages(LOCK) as stages:
        stages.update(json.loads(json.dumps(to_lockfile(stage))))


def leave_only(directory: Path, stages: Collection[str]) -> None:
    """Forget what other stages than these came to in the pipeline of `directory`."""
    with _locked_stages(directory / LOCK) as locked:
        for other in locked.keys() - stages:
            del locked[other]


@contextmanager
def _locked_stages(path: Path) -> Iterator[dict[str, Any]]:
    """The stages of a dvc.lock, be there one or not, to be changed."""
    content: dict[str, Any] = {"schema": "2.0", "stages": {}}
    if path.is_file():
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    yield content["stages"]
    write_text(path, yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False))


def _key(stage: Stage) -> str:
    """A digest of the command and of what it depends on, like that of DVC's run-cache, which needs a saved stage."""
    depends = [(dep.def_path, dep.get_hash().value) for dep in stage.deps]
    content = [stage.cmd, depends, [out.def_path for out in stage.outs]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextmanager
def _commands() -> Iterator[list[str]]:
    """Collect the commands that DVC starts: it tells its log alone whether a stage ran or came from the cache."""
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
