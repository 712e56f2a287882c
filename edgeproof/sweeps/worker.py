"""Run one point of a sweep in its own process: `python -m edgeproof.sweeps.worker <sweep> <digest> [train|build]`.

The process takes a free worktree, brings the point's stages up to date there, and stores the point's files. With
`build`, it stops before the stages that measure, and with `train` before those that export.
"""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeproof import entry, paths
from edgeproof.config.file_names import check_file_name
from edgeproof.config.params import Params
from edgeproof.config.params_file import PARAMS
from edgeproof.config.task_metric import load_metric
from edgeproof.core import file_locks
from edgeproof.core.directories import content_sha256, read_meta, write_atomically
from edgeproof.core.errors import EdgeproofError
from edgeproof.study import pipeline, plan, worktrees
from edgeproof.study.own_files import link_own_files
from edgeproof.sweeps import worktree_pool
from edgeproof.sweeps.outcomes import JournalEntry, ModelSummary, PointFailure, PointOutcome
from edgeproof.sweeps.points import VALIDATION_LIMIT, SweepRequest
from edgeproof.sweeps.store import SweepStore

TRAIN, BUILD = "train", "build"
ERROR_PREFIX = "error: "


def main() -> int:
    """Run the point that the command line names and return the exit code. A failure is stored."""
    name, digest, *phases = sys.argv[1:]
    phase = phases[0] if phases else None
    store = SweepStore(name)
    check_file_name("point", digest)
    try:
        # A process that a killed sweep left behind may still be running this point.
        with file_locks.hold(worktree_pool.LOCKS / "points" / digest):
            if store.read_outcome(digest) is None:
                _run(store, digest, phase)
    except EdgeproofError as error:
        store.write_failure(digest, PointFailure(_add_stage_error(store, digest, str(error))))
        print(f"error: {error}", file=sys.stderr)
        return entry.USAGE_ERROR
    return 0


def _run(store: SweepStore, digest: str, phase: str | None) -> None:
    request, params = store.read_request(), store.load_params(digest)
    stages = list(plan.list_stages(params))
    builds = [stage for stage in stages if plan.is_build(stage)]
    with worktree_pool.hold_worktree(request.code.sha256) as worktree:
        _remove_other_outputs(worktree, params, stages)
        shutil.copyfile(store.params_path(digest), worktree / PARAMS)
        link_own_files(params, worktree)

        def note(run: pipeline.StageRun) -> None:
            store.append_journal(JournalEntry.from_stage_run(digest, run))
            print(f"{run.stage}: {run.outcome} in {run.seconds:.1f} s", flush=True)

        run = functools.partial(pipeline.run, worktree, worktree_pool.LOCKS.resolve() / "stages", note)
        trainings = [stage for stage in builds if plan.is_training(stage)]
        if phase == TRAIN:
            run(trainings)
            store.write_trained(digest, _summarize_models(store, digest, worktree))
            return
        limit = request.limits.get(VALIDATION_LIMIT)
        if limit is not None:
            run(trainings)
            if _stop_beyond_limit(store, digest, params, worktree, limit):
                return
        if phase == BUILD:
            run(builds)
            store.mark_built(digest)
            return
        run()
        experiment = f"{store.name}-{digest[:8]}"
        worktrees.save_experiment(worktree, experiment)
        _store_point(store, digest, request, worktree, experiment)


def _store_point(store: SweepStore, digest: str, request: SweepRequest, worktree: Path, experiment: str) -> None:
    """Copy the point's files out of the worktree. The point's directory appears whole or not at all."""
    outcome = PointOutcome(
        overrides=next(point.overrides for point in request.points if point.digest == digest),
        code=request.code,
        models=_summarize_models(store, digest, worktree),
        stages=[entry for entry in store.read_journal() if entry.point == digest],
        experiment=experiment,
    )
    with write_atomically(store.point_directory(digest)) as out:
        for file in (PARAMS, pipeline.LOCK, paths.METRICS):
            shutil.copyfile(worktree / file, out / file.name)
        for directory in (paths.RECORDS, paths.TABLES, paths.PLOTS):
            shutil.copytree(worktree / directory, out / directory.name)
        store.write_outcome(out, outcome)


def _stop_beyond_limit(store: SweepStore, digest: str, params: Params, worktree: Path, limit: float) -> bool:
    """Stop the point if one of its final models misses the limit in validation. Return whether it was stopped."""
    metric = load_metric(params.task.metric)
    final = params.report.final or [model for model in params.report.models if model != params.report.baseline]
    for name in final:
        quality = _summarize_model(worktree, name).validation_quality
        if not metric.meets(quality, limit):
            missed = f"{metric.worse_side} {metric.format(limit)}"
            reason = f"{name} reaches {metric.format(quality)} in validation, {missed}: neither exported nor measured"
            store.write_failure(digest, PointFailure(reason, abs(limit - quality) / limit, limit))
            return True
    return False


def _summarize_models(store: SweepStore, digest: str, worktree: Path) -> dict[str, ModelSummary]:
    return {name: _summarize_model(worktree, name) for name in store.load_params(digest).map_models()}


def _summarize_model(worktree: Path, name: str) -> ModelSummary:
    meta = read_meta(worktree / paths.MODELS / name, verify=False)
    return ModelSummary(content_sha256(meta), meta["validation_quality"])


def _add_stage_error(store: SweepStore, digest: str, message: str) -> str:
    """Append the last error that a stage printed, unless the message contains it."""
    lines = store.read_last_attempt(digest)
    errors = [line.removeprefix(ERROR_PREFIX) for line in lines if line.startswith(ERROR_PREFIX)]
    return f"{message}: {errors[-1]}" if errors and errors[-1] not in message else message


def _remove_other_outputs(worktree: Path, params: Params, stages: Sequence[str]) -> None:
    """Remove outputs of other models and runtimes: DVC hashes whole directories of artifacts and records."""
    expected = {paths.MODELS / name for name in params.map_models()}
    expected |= {paths.ARTIFACTS / item.runtime / item.model for item in params.export.values()}
    expected |= {paths.RECORDS / key for key in params.bench}
    for pattern in (f"{paths.MODELS}/*", f"{paths.ARTIFACTS}/*/*", f"{paths.RECORDS}/*"):
        for directory in worktree.glob(pattern):
            if directory.relative_to(worktree) not in expected:
                shutil.rmtree(directory)
    pipeline.forget_other_stages(worktree, stages)


if __name__ == "__main__":
    entry.run(main)
