"""A sweep from its points to its report: what is finished is left alone, the rest runs, whatever fails is a row."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeproof import paths
from edgeproof.config import compose
from edgeproof.config.params import Params
from edgeproof.core.directories import write_json
from edgeproof.core.errors import ConfigError
from edgeproof.devices import locks
from edgeproof.study import git, plan, worktrees
from edgeproof.sweeps import local_executor, report, worktree_pool
from edgeproof.sweeps.progress import Progress
from edgeproof.sweeps.store import OBJECTIVES, Asked, Code, Point, Store, digest_of

SHOWN_FILES = 5
WHO = paths.WORK / "sweep.json"
# Runs all phases of points in some other way than side by side on this machine.
Launch = Callable[[Store, Sequence[str]], None]


@dataclass(frozen=True)
class Wish:
    """One point as composed: its overrides and what they make of the study."""

    overrides: tuple[str, ...]
    params: Params


def sweep(
    name: str,
    wishes: Sequence[Wish],
    *,
    workers: int = 1,
    launch: Launch | None = None,
    starter: local_executor.Starter = local_executor.start,
) -> int:
    """Bring the sweep `name` to its end and print its table; returns 0, or 1 where a point failed.

    Args:
        wishes: every point, all of them valid.
        workers: how many points are built side by side. They are measured one after another all the same.
        launch: runs points elsewhere, in place of this machine's processes.
        starter: starts a point's process here.

    Raises ConfigError when a sweep is under way already, and EdgeproofError outside a git checkout.
    """
    with alone(name):
        store = Store(name)
        asked = ask(store, code_now(), wishes)
        _say(store, asked, wishes, workers)
        run(store, asked, workers=workers, launch=launch, starter=starter)
        print(report.write(store), end="")
        return exit_code(store, asked)


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Be the only sweep here. Raises ConfigError by the name of another."""
    with locks.held_or_none(worktree_pool.LOCKS / "sweep") as mine:
        if not mine:
            with contextlib.suppress(OSError, ValueError, KeyError):
                other = json.loads(WHO.read_text(encoding="utf-8"))
                raise ConfigError(
                    f"sweep '{other['name']}' is running here (process {other['process']}). Wait for it or end it; "
                    "to run two at once, use another clone of the project."
                )
            raise ConfigError("another sweep is just starting here. Wait for it.")
        write_json(WHO, {"name": name, "process": os.getpid()})
        yield


def code_now() -> Code:
    """Keep the code of this moment for the sweep's points, and say what it is."""
    changed = tuple(worktrees.changed_since_head())
    if changed:
        names = ", ".join(changed[:SHOWN_FILES]) + (", …" if len(changed) > SHOWN_FILES else "")
        print(f"The tree differs from its last commit ({names}): every point says so, and the table marks it.")
    return Code(worktree_pool.prepare_code(), git.git("rev-parse", "HEAD"), changed)


def ask(
    store: Store,
    code: Code,
    wishes: Sequence[Wish],
    objectives: Sequence[str] = OBJECTIVES,
    limits: Mapping[str, float] | None = None,
) -> Asked:
    """Write down what is to be done."""
    points = []
    for wish in wishes:
        digest = digest_of(compose.dump(wish.params), code)
        points.append(Point(wish.overrides, digest))
        compose.write(wish.params, " ".join(wish.overrides), store.params_file(digest))
    asked = Asked(tuple(points), code, tuple(objectives), limits or {})
    store.ask(asked)
    return asked


def run(
    store: Store,
    asked: Asked,
    *,
    workers: int = 1,
    launch: Launch | None = None,
    starter: local_executor.Starter = local_executor.start,
) -> None:
    """Run every point that is neither finished nor known to be hopeless, those that failed once more."""
    todo = [digest for digest in digests(asked) if not store.is_settled(digest, asked.limits)]
    if launch is not None:
        launch(store, todo)
    elif todo:
        _run_here(store, digests(asked), todo, workers, starter)


def exit_code(store: Store, asked: Asked) -> int:
    """0, or 1 where a point failed."""
    return int(any(store.status(digest) in ("failed", "waiting") for digest in digests(asked)))


def digests(asked: Asked) -> list[str]:
    """Every point once, though two may be the same study."""
    return list(dict.fromkeys(point.digest for point in asked.points))


def _say(store: Store, asked: Asked, wishes: Sequence[Wish], workers: int) -> None:
    plans = [plan.stages(wish.params) for wish in wishes]
    distinct = {pair for stages in plans for pair in stages.items()}
    studies = " and ".join(sorted({wish.params.study for wish in wishes}))
    print(
        f"Sweep '{store.name}': {len(asked.points)} point(s) of study {studies}, "
        f"{sum(map(len, plans))} stages of which {len(distinct)} differ. Results: {_shown(store.directory)}/"
    )
    same = len(asked.points) - len(digests(asked))
    if same:
        print(f"{same} of them are the same study as another: some key has no effect here.")
    finished = sum(store.status(digest) == "finished" for digest in digests(asked))
    if finished:
        print(f"{finished} of them finished before.")
    threads = max((item.threads for wish in wishes for item in wish.params.export.values()), default=1)
    if workers > 1 and workers * threads > (os.cpu_count() or 1):
        print(
            f"{workers} workers × {threads} threads are more than this machine's {os.cpu_count()} cores, so little is "
            "gained. 'threads' belongs to a build's recipe: with threads=1, say, models have other bits."
        )


def _run_here(
    store: Store, every: Sequence[str], todo: Sequence[str], workers: int, starter: local_executor.Starter
) -> None:
    """One by one, each point whole. Side by side, all builds first: a build never disturbs a measurement."""
    plans = {digest: plan.stages(store.params(digest)) for digest in every}
    progress = Progress(store, plans, todo, workers)
    if workers > 1:
        unbuilt = [digest for digest in todo if not store.is_built(digest)]
        choose = _least_shared(store, plans)
        local_executor.run_all(
            store, unbuilt, workers=workers, phase="build", choose=choose, note=progress.build, starter=starter
        )
        todo = [digest for digest in todo if store.status(digest) == "waiting"]
    local_executor.run_all(store, todo, workers=1, phase="all", note=progress.point, starter=starter)


def _least_shared(
    store: Store, plans: Mapping[str, Mapping[str, str]]
) -> Callable[[Sequence[str], Sequence[str]], str]:
    """Choose the point that waits least for what others are making right now."""

    def choose(waiting: Sequence[str], running: Sequence[str]) -> str:
        made = {(line["point"], line["stage"]) for line in store.journal()}
        being_made = {
            (stage, spec)
            for other in running
            for stage, spec in plans[other].items()
            if (other, stage) not in made
        }
        return min(waiting, key=lambda digest: len(being_made & plans[digest].items()))

    return choose


def _shown(path: Path) -> Path:
    """A path relative to here where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
