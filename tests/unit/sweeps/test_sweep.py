"""Tests of sweeps without DVC: which points run, which do not run again, and points that fail or are killed."""

from __future__ import annotations

import csv
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from edgeproof.config.params import Params
from edgeproof.core import file_locks
from edgeproof.core.directories import write_json
from edgeproof.core.errors import ConfigError
from edgeproof.study import git, plan
from edgeproof.sweeps import local_executor, sweep, worktree_pool
from edgeproof.sweeps.points import ComposedPoint, find_axes, format_label
from edgeproof.sweeps.store import SweepStore
from tests.support.sweep_points import StubStarter, compose_point, list_started

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("empty_project")]
RUN_GIT = git.run_git  # the fixture replaces it


def rows(store: SweepStore) -> list[dict[str, str]]:
    with (store.directory / "table.csv").open() as file:
        return list(csv.DictReader(file))


# --- what runs ------------------------------------------------------------------------------------------------------


def test_every_point_runs_once_in_order_and_a_second_command_runs_nothing(
    grid: list[ComposedPoint], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.run_sweep("s", grid, starter=StubStarter()) == 0
    store = SweepStore("s")
    digests = [point.digest for point in store.read_request().points]
    assert list_started(store) == [f"{digest} all" for digest in digests]
    assert sweep.run_sweep("s", grid, starter=StubStarter()) == 0
    assert len(list_started(store)) == 4
    assert "4 point(s) were finished before" in capsys.readouterr().out


def test_points_with_the_same_parameters_run_once_and_have_one_row_each(
    digits_study: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    one = compose_point(digits_study)
    sweep.run_sweep("s", [one, ComposedPoint((*one.overrides[:2], "seed=+0"), one.params)], starter=StubStarter())
    assert len(list_started(SweepStore("s"))) == 1
    assert len(rows(SweepStore("s"))) == 2
    assert "1 point(s) have the same parameters as another" in capsys.readouterr().out


def test_only_a_point_that_was_added_later_runs(grid: list[ComposedPoint]) -> None:
    sweep.run_sweep("s", grid[:3], starter=StubStarter())
    sweep.run_sweep("s", grid, starter=StubStarter())
    assert Counter(list_started(SweepStore("s"))).most_common(1)[0][1] == 1
    assert len(list_started(SweepStore("s"))) == 4


def test_changed_code_makes_new_points(grid: list[ComposedPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    sweep.run_sweep("s", grid[:1], starter=StubStarter())
    monkeypatch.setattr(worktree_pool, "prepare_code", lambda: "d" * 64)
    sweep.run_sweep("s", grid[:1], starter=StubStarter())
    assert len(set(list_started(SweepStore("s")))) == 2


def test_several_workers_build_all_points_before_any_is_measured(grid: list[ComposedPoint]) -> None:
    assert sweep.run_sweep("s", grid, workers=2, starter=StubStarter(0.05)) == 0
    phases = [line.split()[1] for line in list_started(SweepStore("s"))]
    assert phases == ["build"] * 4 + ["all"] * 4


def test_as_many_points_run_in_parallel_as_there_are_workers(grid: list[ComposedPoint]) -> None:
    counts: list[int] = []
    store = SweepStore("s")
    sweep.run_sweep("s", grid, starter=StubStarter())

    def note(digest: str, event: str, running: list[str]) -> None:
        counts.append(len(running))

    for point in store.read_request().points:
        (store.point_directory(point.digest)).rename(store.directory / "prepared" / point.digest / "result")
    digests = [point.digest for point in store.read_request().points]
    local_executor.run_points(store, digests, workers=3, phase="all", note=note, starter=StubStarter(0.1))
    assert max(counts) == 3


def test_the_point_that_shares_fewest_stages_with_running_points_is_next(
    digits_study: Params, grid: list[ComposedPoint]
) -> None:
    plans = {str(index): plan.list_stages(point.params) for index, point in enumerate(grid)}
    choose = sweep._choose_least_shared(SweepStore("s"), plans)
    # Points 0 and 1 share one pruned student, points 2 and 3 the other.
    assert choose(["1", "2", "3"], ["0"]) == "2"
    assert choose(["0", "1"], ["2"]) == "0"


# --- what is shared -------------------------------------------------------------------------------------------------


def test_only_shared_stages_have_the_same_digest(grid: list[ComposedPoint]) -> None:
    first, bits, ratio, _ = (plan.list_stages(point.params) for point in grid)
    assert list(first) == list(bits) == list(ratio)
    differ_by_bits = {stage for stage in first if first[stage] != bits[stage]}
    differ_by_ratio = {stage for stage in first if first[stage] != ratio[stage]}
    exports = {f"export@student_slim_w4_{runtime}" for runtime in ("tflite", "onnx", "openvino")}
    measured = {"bench@local_tflite", "bench@local_onnx", "bench@local_openvino", "report"}
    assert differ_by_bits == {"quantize@student_slim_w4", *exports, *measured}
    assert differ_by_ratio == {"prune@student_slim", *differ_by_bits}


def test_a_plan_lists_builds_before_measurements(digits_study: Params) -> None:
    stages = list(plan.list_stages(digits_study))
    assert stages[0] == "prepare"
    assert stages[-1] == "report"
    builds = [plan.is_build(stage) for stage in stages]
    assert builds == sorted(builds, reverse=True)


# --- what fails -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_point_that_fails_or_is_killed_becomes_a_row_with_its_reason_and_the_others_run(
    grid: list[ComposedPoint], workers: int
) -> None:
    starter = StubStarter(behaviour={"prune.ratio=0.4": "failed", "quantize.bits=3": "killed"})
    assert sweep.run_sweep("s", grid, workers=workers, starter=starter) == 1
    store = SweepStore("s")
    assert [store.read_status(point.digest) for point in store.read_request().points] == [
        "failed",
        "finished",
        "failed",
        "failed",
    ]
    reasons = [row["reason"] for row in rows(store)]
    assert reasons[0] == "its process was killed by SIGKILL"
    assert reasons[1] == ""
    assert "ended with exit code 3: the last word" in reasons[3]
    table = (store.directory / "table.md").read_text()
    assert "Points without a result and refused runs" in table
    assert "the last word" in table


def test_a_failed_point_runs_again_and_a_finished_one_does_not(grid: list[ComposedPoint]) -> None:
    sweep.run_sweep("s", grid, starter=StubStarter(behaviour={"prune.ratio=0.4": "failed"}))
    assert sweep.run_sweep("s", grid, starter=StubStarter()) == 0
    store = SweepStore("s")
    assert sorted(Counter(list_started(store)).values()) == [1, 1, 2, 2]
    assert {row["status"] for row in rows(store)} == {"finished"}


def test_processes_that_a_point_leaves_running_are_killed(grid: list[ComposedPoint], tmp_path: Path) -> None:
    """The point leaves a grandchild in its process group that would write a file after two seconds."""
    late = tmp_path / "late"

    def start(store: SweepStore, digest: str, phase: local_executor.PointPhase) -> object:
        import subprocess

        return subprocess.Popen(["sh", "-c", f"(sleep 2; touch {late}) & exit 1"], start_new_session=True)

    store = SweepStore("s")
    digest = sweep.write_request(store, sweep.snapshot_code(), grid[:1]).digests[0]
    local_executor.run_point(store, digest, starter=start)  # type: ignore[arg-type]
    time.sleep(2.2)
    assert not late.exists()


def test_a_sweep_killed_at_random_moments_ends_with_the_same_table(grid: list[ComposedPoint]) -> None:
    """Kill the sweep's process twenty times and start it again. Its points' processes continue as orphans."""
    sweep.run_sweep("undisturbed", grid, starter=StubStarter())
    moments = random.Random(0)
    for _ in range(20):
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sweep.run_sweep("killed", grid, workers=moments.choice([1, 2]), starter=StubStarter(0.03))
            os._exit(0)
        time.sleep(moments.uniform(0, 0.4))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert sweep.run_sweep("killed", grid, starter=StubStarter(0.03)) == 0
    assert rows(SweepStore("killed")) == rows(SweepStore("undisturbed"))
    finished = [line for line in list_started(SweepStore("killed")) if line.endswith("all")]
    assert set(Counter(finished).values()) == {1}


# --- two at once ----------------------------------------------------------------------------------------------------


def test_a_second_sweep_is_refused_with_the_name_of_the_first(grid: list[ComposedPoint]) -> None:
    write_json(sweep.RUNNING_SWEEP, {"name": "first", "process": 17})
    lock = file_locks.hold(worktree_pool.LOCKS / "sweep")
    with lock, pytest.raises(ConfigError, match=r"sweep 'first' is running here"):
        sweep.run_sweep("second", grid, starter=StubStarter())
    assert not SweepStore("second").directory.exists()


# --- names ----------------------------------------------------------------------------------------------------------


def test_axes_are_the_differing_keys_and_labels_hold_their_values(grid: list[ComposedPoint]) -> None:
    sweep.run_sweep("s", grid, starter=StubStarter())
    request = SweepStore("s").read_request()
    assert find_axes(request) == ["prune.ratio", "quantize.bits"]
    assert format_label(request.points[1], find_axes(request)) == "ratio=0.2 bits=4"
    assert format_label(request.points[0], []) == "the only point"


def test_hidden_keys_are_no_axes_and_are_stored_with_the_request(grid: list[ComposedPoint]) -> None:
    store = SweepStore("s")
    sweep.write_request(store, sweep.snapshot_code(), grid, hidden_keys=["quantize.bits"])
    assert find_axes(store.read_request()) == ["prune.ratio"]


def test_more_threads_than_cores_print_a_warning(grid: list[ComposedPoint], capsys: pytest.CaptureFixture[str]) -> None:
    sweep.run_sweep("s", grid, workers=64, starter=StubStarter())
    assert "64 workers × 2 threads exceed this machine's" in capsys.readouterr().out


def test_a_sweep_outside_a_git_checkout_says_what_it_needs(
    grid: list[ComposedPoint], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(git, "run_git", RUN_GIT)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for prepare in ([], ["init", "-q"]):  # no repository, then one without a commit
        if prepare:
            RUN_GIT(*prepare)
        with pytest.raises(ConfigError, match=r"needs a git checkout with a commit.*git init") as refused:
            sweep.run_sweep("s", grid, starter=StubStarter())
        assert len(str(refused.value).splitlines()) == 1
