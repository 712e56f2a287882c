"""One point of a sweep, in a process of its own: `python -m edgeproof.sweeps.worker <sweep> <digest> [build]`.

The process takes a worktree that no other uses, brings the point's stages up to date there, and keeps what it left.
With `build`, it stops before what measures.
"""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeproof import entry, paths
from edgeproof.config.params import FAMILIES, PARAMS, Params
from edgeproof.core.directories import identity, read_meta, write_json, written_whole
from edgeproof.core.errors import EdgeproofError
from edgeproof.devices import locks
from edgeproof.study import pipeline, plan, worktrees
from edgeproof.sweeps import worktree_pool
from edgeproof.sweeps.store import VALIDATION, Asked, Store

BUILD = "build"


def main() -> int:
    """Run the point that the command line names; its failure is written down, and the exit code says so."""
    name, digest, *phase = sys.argv[1:]
    store = Store(name)
    try:
        with locks.held(worktree_pool.LOCKS / "points" / digest):  # what a killed sweep left behind may still be at it
            if store.outcome(digest) is None:
                _run(store, digest, build_only=phase == [BUILD])
    except EdgeproofError as error:
        store.fail(digest, _reason(store, digest, str(error)))
        print(f"error: {error}", file=sys.stderr)
        return entry.USAGE_ERROR
    return 0


def _run(store: Store, digest: str, *, build_only: bool) -> None:
    asked, params = store.asked(), store.params(digest)
    stages = list(plan.stages(params))
    builds = [stage for stage in stages if plan.is_build(stage)]
    with worktree_pool.slot(asked.code.sha256) as worktree:
        _leave_only(worktree, params, stages)
        shutil.copyfile(store.params_file(digest), worktree / PARAMS)

        def note(run: pipeline.StageRun) -> None:
            store.note({"point": digest, **asdict(run)})
            print(f"{run.stage}: {run.outcome} in {run.seconds:.1f} s", flush=True)

        run = functools.partial(pipeline.run, worktree, worktree_pool.LOCKS.resolve() / "stages", note)
        limit = asked.limits.get(VALIDATION)
        if limit is not None:
            run([stage for stage in builds if not stage.startswith("export@")])
            if _is_hopeless(store, digest, params, worktree, limit):
                return
        if build_only:
            run(builds)
            store.mark_built(digest)
            return
        run()
        experiment = f"{store.name}-{digest[:8]}"
        worktrees.save_experiment(worktree, experiment)
        _keep(store, digest, asked, worktree, experiment)


def _keep(store: Store, digest: str, asked: Asked, worktree: Path, experiment: str) -> None:
    """Put all that the point left in its place at once."""
    params = store.params(digest)
    overrides = next(point.overrides for point in asked.points if point.digest == digest)
    models = {name: _model(worktree / paths.MODELS / name) for name in _models(params)}
    stages = [line for line in store.journal() if line["point"] == digest]
    with written_whole(store.point(digest)) as out:
        for file in (PARAMS, pipeline.LOCK, paths.METRICS):
            shutil.copyfile(worktree / file, out / file.name)
        for directory in (paths.RECORDS, paths.TABLES, paths.PLOTS):
            shutil.copytree(worktree / directory, out / directory.name)
        content = {"overrides": overrides, "code": asdict(asked.code), "models": models, "stages": stages}
        write_json(out / "point.json", {**content, "experiment": experiment})


def _is_hopeless(store: Store, digest: str, params: Params, worktree: Path, limit: float) -> bool:
    """Whether a point is not worth exporting and measuring; says why."""
    final = params.report.final or [model for model in params.report.models if model != params.report.baseline]
    reached = {name: _model(worktree / paths.MODELS / name)["validation_accuracy"] for name in final}
    for name, accuracy in reached.items():
        if accuracy < limit:
            reason = f"{name} reaches {accuracy:.2%} in validation, below {limit:.2%}: neither exported nor measured"
            store.stop(digest, reason, (limit - accuracy) / limit, limit)
            return True
    return False


def _model(directory: Path) -> dict[str, Any]:
    meta = read_meta(directory, verify=False)
    return {"sha256": identity(meta), "validation_accuracy": meta["validation_accuracy"]}


def _models(params: Params) -> list[str]:
    return [name for family in FAMILIES for name in getattr(params, family)]


def _reason(store: Store, digest: str, message: str) -> str:
    """What failed, with the last error that a stage printed."""
    errors = [line.removeprefix("error: ") for line in store.last_attempt(digest) if line.startswith("error: ")]
    return f"{message}: {errors[-1]}" if errors and errors[-1] not in message else message


def _leave_only(worktree: Path, params: Params, stages: Sequence[str]) -> None:
    """Remove what points with other models or runtimes left: DVC hashes whole directories of artifacts and records."""
    expected = {paths.MODELS / name for name in _models(params)}
    expected |= {paths.ARTIFACTS / item.runtime / item.model for item in params.export.values()}
    expected |= {paths.RECORDS / key for key in params.bench}
    for pattern in (f"{paths.MODELS}/*", f"{paths.ARTIFACTS}/*/*", f"{paths.RECORDS}/*"):
        for found in worktree.glob(pattern):
            if found.relative_to(worktree) not in expected:
                shutil.rmtree(found)
    pipeline.leave_only(worktree, stages)


if __name__ == "__main__":
    entry.run(main)
