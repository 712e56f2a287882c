"""Run a sweep: skip finished points, run the others, and write the report. Failed points are rows of the report."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from edgeproof import paths
from edgeproof.config import params_file
from edgeproof.core import file_locks
from edgeproof.core.directories import write_json
from edgeproof.core.errors import ConfigError, EdgeproofError, summarize_error
from edgeproof.study import git, plan, worktrees
from edgeproof.sweeps import local_executor, report, worktree_pool
from edgeproof.sweeps.points import (
    DEFAULT_OBJECTIVES,
    CodeVersion,
    ComposedPoint,
    SweepPoint,
    SweepRequest,
    compute_digest,
)
from edgeproof.sweeps.progress import SweepProgress
from edgeproof.sweeps.store import JOURNAL_FILE, SweepStore

MAX_SHOWN_FILES = 5
# Names the sweep that is running here.
RUNNING_SWEEP = paths.WORK / "sweep.json"
# Runs all phases of the given points in another way than as processes of this machine.
Launcher = Callable[[SweepStore, Sequence[str]], None]


def run_sweep(
    name: str,
    points: Sequence[ComposedPoint],
    *,
    workers: int = 1,
    launch: Launcher | None = None,
    starter: local_executor.PointStarter = local_executor.start_point,
) -> int:
    """Run the sweep `name` to its end and print its table. Return 0, or 1 if a point failed.

    Args:
        points: all points, validated.
        workers: how many points are built in parallel. Points are always measured one after another.
        launch: runs the points elsewhere instead of on this machine.
        starter: starts a point's process on this machine.

    Raises ConfigError when another sweep is running, and EdgeproofError outside a git checkout.
    """
    with hold_sweep_lock(name):
        store = open_store(name)
        request = write_request(store, snapshot_code(), points)
        _print_summary(store, request, points, workers)
        run_points(store, request, workers=workers, launch=launch, starter=starter)
        print(report.write_report(store), end="")
        return compute_exit_code(store, request)


def open_store(name: str) -> SweepStore:
    """Return the directory of the sweep `name`, and print how many lines of its journal are damaged, if any."""
    store = SweepStore(name)
    if damaged := store.count_damaged_entries():
        print(f"skipped: {store.directory / JOURNAL_FILE} has {damaged} damaged line(s)", file=sys.stderr)
    return store


@contextlib.contextmanager
def hold_sweep_lock(name: str) -> Iterator[None]:
    """Hold the lock that allows one sweep at a time. Raises ConfigError, naming the other sweep, when it is taken."""
    with file_locks.try_hold(worktree_pool.LOCKS / "sweep") as is_held:
        if not is_held:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                other = json.loads(RUNNING_SWEEP.read_text(encoding="utf-8"))
                raise ConfigError(
                    f"sweep '{other['name']}' is running here (process {other['process']}). Wait until it ends or "
                    "stop it. To run two sweeps at once, use another clone of the project."
                )
            raise ConfigError("another sweep is starting here. Wait until it ends.")
        write_json(RUNNING_SWEEP, {"name": name, "process": os.getpid()})
        yield


def snapshot_code() -> CodeVersion:
    """Copy the current code for the sweep's points and return its version. Raises ConfigError without a commit."""
    commit = _read_commit()
    changed = tuple(worktrees.list_changes_since_head())
    if changed:
        names = ", ".join(changed[:MAX_SHOWN_FILES]) + (", …" if len(changed) > MAX_SHOWN_FILES else "")
        print(f"The working tree differs from its last commit ({names}). The table marks every point with '*'.")
    return CodeVersion(worktree_pool.prepare_code(), commit, changed)


def write_request(
    store: SweepStore,
    code: CodeVersion,
    points: Sequence[ComposedPoint],
    objectives: Sequence[str] = DEFAULT_OBJECTIVES,
    limits: Mapping[str, float] | None = None,
    hidden_keys: Sequence[str] = (),
) -> SweepRequest:
    """Store the sweep's request and each point's parameters."""
    stored = []
    for point in points:
        digest = compute_digest(params_file.dump_params(point.params), code)
        stored.append(SweepPoint(point.overrides, digest))
        params_file.write_params(point.params, " ".join(point.overrides), store.params_path(digest))
    request = SweepRequest(tuple(stored), code, tuple(objectives), limits or {}, tuple(hidden_keys))
    store.write_request(request)
    return request


def run_points(
    store: SweepStore,
    request: SweepRequest,
    *,
    workers: int = 1,
    launch: Launcher | None = None,
    starter: local_executor.PointStarter = local_executor.start_point,
) -> None:
    """Run every point that is not settled. Points that failed before run once more."""
    todo = [digest for digest in request.digests if not store.is_settled(digest, request.limits)]
    if launch is not None:
        launch(store, todo)
    elif todo:
        _run_locally(store, request.digests, todo, workers, starter)


def train_points(
    store: SweepStore,
    request: SweepRequest,
    *,
    workers: int = 1,
    starter: local_executor.PointStarter = local_executor.start_point,
) -> None:
    """Train the models of every point that has none, and export and measure nothing."""
    todo = [digest for digest in request.digests if store.read_trained(digest) is None]
    plans = {digest: _list_trainings(store, digest) for digest in request.digests}
    progress = SweepProgress(store, plans, todo, workers, trains_only=True)
    local_executor.run_points(
        store, todo, workers=workers, phase="train", choose=_choose_least_shared(store, plans),
        note=progress.report_training, starter=starter,
    )  # fmt: skip


def _list_trainings(store: SweepStore, digest: str) -> dict[str, str]:
    stages = plan.list_stages(store.load_params(digest)).items()
    return {stage: key for stage, key in stages if plan.is_training(stage)}


def compute_exit_code(store: SweepStore, request: SweepRequest) -> int:
    """Return 0, or 1 if a point has failed or did not run."""
    return int(any(store.read_status(digest) in ("failed", "waiting") for digest in request.digests))


def _print_summary(store: SweepStore, request: SweepRequest, points: Sequence[ComposedPoint], workers: int) -> None:
    plans = [plan.list_stages(point.params) for point in points]
    distinct = {pair for stages in plans for pair in stages.items()}
    studies = " and ".join(sorted({point.params.study for point in points}))
    print(
        f"Sweep '{store.name}': {len(request.points)} point(s) of study {studies}. "
        f"They have {sum(map(len, plans))} stages, {len(distinct)} of them distinct. "
        f"Results: {_relative_to_here(store.directory)}/"
    )
    duplicates = len(request.points) - len(request.digests)
    if duplicates:
        print(f"{duplicates} point(s) have the same parameters as another: some key has no effect in this study.")
    finished = sum(store.read_status(digest) == "finished" for digest in request.digests)
    if finished:
        print(f"{finished} point(s) were finished before.")
    threads = max((item.threads for point in points for item in point.params.export.values()), default=1)
    if workers > 1 and workers * threads > (os.cpu_count() or 1):
        print(
            f"{workers} workers × {threads} threads exceed this machine's {os.cpu_count()} cores, so the sweep gains "
            "little speed. Fewer threads ('threads=1') give models with other bits: 'threads' is part of a build."
        )


def _run_locally(
    store: SweepStore,
    digests: Sequence[str],
    todo: Sequence[str],
    workers: int,
    starter: local_executor.PointStarter,
) -> None:
    """Run the points in `todo` as processes of this machine.

    One worker runs each point whole. Several workers first build all points, since a build would disturb a measurement.
    """
    plans = {digest: plan.list_stages(store.load_params(digest)) for digest in digests}
    progress = SweepProgress(store, plans, todo, workers)
    if workers > 1:
        unbuilt = [digest for digest in todo if not store.is_built(digest)]
        choose = _choose_least_shared(store, plans)
        local_executor.run_points(
            store, unbuilt, workers=workers, phase="build", choose=choose, note=progress.report_build, starter=starter
        )
        todo = [digest for digest in todo if store.read_status(digest) == "waiting"]
    local_executor.run_points(store, todo, workers=1, phase="all", note=progress.report_point, starter=starter)


def _choose_least_shared(
    store: SweepStore, plans: Mapping[str, Mapping[str, str]]
) -> Callable[[Sequence[str], Sequence[str]], str]:
    """Return a function that chooses the waiting point that shares the fewest stages with those now being built."""

    def choose(waiting: Sequence[str], running: Sequence[str]) -> str:
        ended = {(entry.point, entry.stage) for entry in store.read_journal()}
        in_progress = {
            (stage, digest)
            for other in running
            for stage, digest in plans[other].items()
            if (other, stage) not in ended
        }
        return min(waiting, key=lambda digest: len(in_progress & plans[digest].items()))

    return choose


def _relative_to_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _read_commit() -> str:
    try:
        return git.run_git("rev-parse", "--verify", "HEAD")
    except git.ForeignCheckoutError:
        raise
    except EdgeproofError as error:
        raise ConfigError(
            "a sweep needs a git checkout with a commit, because each point is saved as an experiment "
            f"({summarize_error(error)}). In a clone this is so; otherwise: git init && git add . && git commit"
        ) from None
