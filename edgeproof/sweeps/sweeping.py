"""A sweep from its points to its report: what is finished is left alone, the rest runs, whatever fails is a row."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeproof import config, locks, paths, worktrees
from edgeproof.core.directories import write_json
from edgeproof.core.errors import ConfigError
from edgeproof.params import Params

from . import plan, report, running, worker
from .progress import Progress
from .store import Asked, Code, Point, Store, digest_of

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
    starter: running.Starter = running.start,
) -> int:
    """Bring the sweep `name` to its end and print its table; returns 0, or 1 where a point failed.

    Args:
        wishes: every point, all of them valid.
        workers: how many points are built side by side. They are measured one after another all the same.
        launch: runs points elsewhere, in place of this machine's processes.
        starter: starts a point's process here.

    Raises ConfigError when a sweep is under way already, and EdgeproofError outside a git checkout.
    """
    with _alone(name):
        store, asked = _asked(name, wishes)
        _say(store, asked, wishes, workers)
        todo = [digest for digest in _digests(asked) if store.status(digest) not in ("finished", "stopped")]
        if launch is not None:
            launch(store, todo)
        else:
            _run_here(store, _digests(asked), todo, workers, starter)
        print(report.write(store), end="")
        statuses = [store.status(digest) for digest in _digests(asked)]
    return int(any(status in ("failed", "waiting") for status in statuses))


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    with locks.held_or_none(worker.LOCKS / "sweep") as mine:
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


def _asked(name: str, wishes: Sequence[Wish]) -> tuple[Store, Asked]:
    """Write down what is to be done."""
    store = Store(name)
    code = Code(worker.prepare_code(), worktrees.git("rev-parse", "HEAD"), tuple(worktrees.changed_since_head()))
    points = []
    for wish in wishes:
        digest = digest_of(config.dump(wish.params), code)
        points.append(Point(wish.overrides, digest))
        config.write(wish.params, " ".join(wish.overrides), store.params_file(digest))
    asked = Asked(tuple(points), code, {})
    store.ask(asked)
    return store, asked


def _digests(asked: Asked) -> list[str]:
    """Every point once, though two may be the same study."""
    return list(dict.fromkeys(point.digest for point in asked.points))


def _say(store: Store, asked: Asked, wishes: Sequence[Wish], workers: int) -> None:
    plans = [plan.stages(wish.params) for wish in wishes]
    distinct = {pair for stages in plans for pair in stages.items()}
    print(
        f"Sweep '{store.name}': {len(asked.points)} point(s) of study '{wishes[0].params.study}', "
        f"{sum(map(len, plans))} stages of which {len(distinct)} differ. Results: {_shown(store.directory)}/"
    )
    if asked.code.changed:
        names = ", ".join(asked.code.changed[:5]) + (", …" if len(asked.code.changed) > 5 else "")
        print(f"The tree differs from its last commit ({names}): every point says so, and the table marks it.")
    threads = max(item.threads for wish in wishes for item in wish.params.export.values())
    if workers > 1 and workers * threads > (os.cpu_count() or 1):
        print(
            f"{workers} workers × {threads} threads are more than this machine's {os.cpu_count()} cores, so little is "
            "gained. 'threads' belongs to a build's recipe: with threads=1, say, models have other bits."
        )


def _run_here(
    store: Store, digests: Sequence[str], todo: Sequence[str], workers: int, starter: running.Starter
) -> None:
    """One by one, each point whole. Side by side, all builds first: a build never disturbs a measurement."""
    plans = {digest: plan.stages(store.params(digest)) for digest in digests}
    progress = Progress(store, plans, todo, workers)
    if workers > 1:
        unbuilt = [digest for digest in todo if not store.is_built(digest)]
        choose = _least_shared(store, plans)
        running.run_all(
            store, unbuilt, workers=workers, phase="build", choose=choose, note=progress.build, starter=starter
        )
        todo = [digest for digest in todo if store.status(digest) == "waiting"]
    running.run_all(store, todo, workers=1, phase="all", note=progress.point, starter=starter)


def _least_shared(
    store: Store, plans: Mapping[str, Mapping[str, str]]
) -> Callable[[Sequence[str], Sequence[str]], str]:
    """Choose the point that waits least for what others are making right now."""

    def choose(waiting: Sequence[str], running: Sequence[str]) -> str:
        made = {(line["point"], line["stage"]) for line in store.journal()}
        being_made = {
            (stage, spec) for other in running for stage, spec in plans[other].items() if (other, stage) not in made
        }
        return min(waiting, key=lambda digest: len(being_made & plans[digest].items()))

    return choose


def _shown(path: Path) -> Path:
    """A path relative to here where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
