"""Sweeps without DVC: what runs, what doesn't run again, what becomes of what fails or is killed."""

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
from edgeproof.core.directories import write_json
from edgeproof.core.errors import ConfigError
from edgeproof.devices import locks
from edgeproof.study import plan
from edgeproof.sweeps import local_executor, sweep, worktree_pool
from edgeproof.sweeps.store import Store, axes, label
from edgeproof.sweeps.sweep import Wish
from tests.support.sweep_points import Starter, started, wish
from tests.support.sweep_points import here as here

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def grid(digits_study: Params) -> list[Wish]:
    return [wish(digits_study, ratio=ratio, bits=bits) for ratio in (0.2, 0.4) for bits in (3, 4)]


def rows(store: Store) -> list[dict[str, str]]:
    with (store.directory / "table.csv").open() as file:
        return list(csv.DictReader(file))


# --- what runs ------------------------------------------------------------------------------------------------------


def test_every_point_runs_once_in_order_and_again_nothing(grid: list[Wish], capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.sweep("s", grid, starter=Starter()) == 0
    store = Store("s")
    digests = [point.digest for point in store.asked().points]
    assert started(store) == [f"{digest} all" for digest in digests]
    assert sweep.sweep("s", grid, starter=Starter()) == 0
    assert len(started(store)) == 4
    assert "4 of them finished before" in capsys.readouterr().out


def test_points_that_are_the_same_study_run_once_and_have_a_row_each(
    digits_study: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    one = wish(digits_study)
    sweep.sweep("s", [one, Wish((*one.overrides[:2], "seed=+0"), one.params)], starter=Starter())
    assert len(started(Store("s"))) == 1
    assert len(rows(Store("s"))) == 2
    assert "1 of them are the same study as another" in capsys.readouterr().out


def test_a_point_added_later_runs_alone(grid: list[Wish]) -> None:
    sweep.sweep("s", grid[:3], starter=Starter())
    sweep.sweep("s", grid, starter=Starter())
    assert Counter(started(Store("s"))).most_common(1)[0][1] == 1
    assert len(started(Store("s"))) == 4


def test_other_code_makes_other_points(grid: list[Wish], monkeypatch: pytest.MonkeyPatch) -> None:
    sweep.sweep("s", grid[:1], starter=Starter())
    monkeypatch.setattr(worktree_pool, "prepare_code", lambda: "d" * 64)
    sweep.sweep("s", grid[:1], starter=Starter())
    assert len(set(started(Store("s")))) == 2


def test_side_by_side_all_is_built_before_anything_is_measured(grid: list[Wish]) -> None:
    assert sweep.sweep("s", grid, workers=2, starter=Starter(0.05)) == 0
    phases = [line.split()[1] for line in started(Store("s"))]
    assert phases == ["build"] * 4 + ["all"] * 4


def test_no_more_points_than_workers_run_and_all_of_them_at_some_time(grid: list[Wish]) -> None:
    most: list[int] = []
    store = Store("s")
    sweep.sweep("s", grid, starter=Starter())

    def note(digest: str, event: str, running: list[str]) -> None:
        most.append(len(running))

    for point in store.asked().points:
        (store.point(point.digest)).rename(store.directory / "prepared" / point.digest / "result")
    digests = [point.digest for point in store.asked().points]
    local_executor.run_all(store, digests, workers=3, phase="all", note=note, starter=Starter(0.1))
    assert max(most) == 3


def test_the_point_that_shares_least_with_those_being_built_is_next(digits_study: Params, grid: list[Wish]) -> None:
    plans = {str(index): plan.stages(of.params) for index, of in enumerate(grid)}
    choose = sweep._least_shared(Store("s"), plans)
    # 0 and 1 share the pruned student, 2 and 3 have the other one.
    assert choose(["1", "2", "3"], ["0"]) == "2"
    assert choose(["0", "1"], ["2"]) == "0"


# --- what is shared -------------------------------------------------------------------------------------------------


def test_stages_that_points_share_have_the_same_digest_and_others_differ(grid: list[Wish]) -> None:
    first, bits, ratio, _ = (plan.stages(of.params) for of in grid)
    assert list(first) == list(bits) == list(ratio)
    differ_by_bits = {stage for stage in first if first[stage] != bits[stage]}
    differ_by_ratio = {stage for stage in first if first[stage] != ratio[stage]}
    exports = {f"export@student_slim_w4_{runtime}" for runtime in ("tflite", "onnx", "openvino")}
    measured = {"bench@local_tflite", "bench@local_onnx", "bench@local_openvino", "report"}
    assert differ_by_bits == {"quantize@student_slim_w4", *exports, *measured}
    assert differ_by_ratio == {"prune@student_slim", *differ_by_bits}


def test_a_plan_names_the_stages_of_dvc_yaml_with_builds_before_measurements(digits_study: Params) -> None:
    stages = list(plan.stages(digits_study))
    assert stages[0] == "prepare"
    assert stages[-1] == "report"
    builds = [plan.is_build(stage) for stage in stages]
    assert builds == sorted(builds, reverse=True)


# --- what fails -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_point_that_fails_or_is_killed_is_a_row_with_its_reason_and_the_rest_goes_on(
    grid: list[Wish], workers: int
) -> None:
    starter = Starter(behaviour={"prune.ratio=0.4": "failed", "quantize.bits=3": "killed"})
    assert sweep.sweep("s", grid, workers=workers, starter=starter) == 1
    store = Store("s")
    assert [store.status(point.digest) for point in store.asked().points] == ["failed", "finished", "failed", "failed"]
    reasons = [row["reason"] for row in rows(store)]
    assert reasons[0] == "its process was ended by SIGKILL"
    assert reasons[1] == ""
    assert "ended with 3: the last word" in reasons[3]
    table = (store.directory / "table.md").read_text()
    assert "Without a result, or refused" in table
    assert "the last word" in table


def test_a_failed_point_is_tried_again_and_what_is_finished_is_not(grid: list[Wish]) -> None:
    sweep.sweep("s", grid, starter=Starter(behaviour={"prune.ratio=0.4": "failed"}))
    assert sweep.sweep("s", grid, starter=Starter()) == 0
    store = Store("s")
    assert sorted(Counter(started(store)).values()) == [1, 1, 2, 2]
    assert {row["status"] for row in rows(store)} == {"finished"}


def test_what_a_points_process_leaves_running_ends_with_it(grid: list[Wish], tmp_path: Path) -> None:
    """A grandchild in the point's process group, which would write a file after two seconds."""
    late = tmp_path / "late"

    def start(store: Store, digest: str, phase: local_executor.Phase) -> object:
        import subprocess

        return subprocess.Popen(["sh", "-c", f"(sleep 2; touch {late}) & exit 1"], start_new_session=True)

    store = Store("s")
    digest = sweep.digests(sweep.ask(store, sweep.code_now(), grid[:1]))[0]
    local_executor.run_one(store, digest, starter=start)  # type: ignore[arg-type]
    time.sleep(2.2)
    assert not late.exists()


def test_killed_at_any_moment_the_same_command_comes_to_the_same_table(grid: list[Wish]) -> None:
    """Twenty times the sweep's own process is killed, its points' processes go on as orphans, and it starts again."""
    sweep.sweep("undisturbed", grid, starter=Starter())
    moments = random.Random(0)
    for _ in range(20):
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sweep.sweep("killed", grid, workers=moments.choice([1, 2]), starter=Starter(0.03))
            os._exit(0)
        time.sleep(moments.uniform(0, 0.4))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert sweep.sweep("killed", grid, starter=Starter(0.03)) == 0
    assert rows(Store("killed")) == rows(Store("undisturbed"))
    finished = [line for line in started(Store("killed")) if line.endswith("all")]
    assert set(Counter(finished).values()) == {1}


# --- two at once ----------------------------------------------------------------------------------------------------


def test_a_second_sweep_is_refused_by_the_name_of_the_first(grid: list[Wish]) -> None:
    write_json(sweep.WHO, {"name": "first", "process": 17})
    with locks.held(worktree_pool.LOCKS / "sweep"), pytest.raises(ConfigError, match=r"sweep 'first' is running here"):
        sweep.sweep("second", grid, starter=Starter())
    assert not Store("second").directory.exists()


# --- names ----------------------------------------------------------------------------------------------------------


def test_axes_are_the_keys_that_differ_and_labels_their_values(grid: list[Wish]) -> None:
    sweep.sweep("s", grid, starter=Starter())
    points = Store("s").asked().points
    assert axes(points) == ["prune.ratio", "quantize.bits"]
    assert label(points[1], axes(points)) == "ratio=0.2 bits=4"
    assert label(points[0], []) == "the only point"


def test_more_threads_than_cores_are_said(grid: list[Wish], capsys: pytest.CaptureFixture[str]) -> None:
    sweep.sweep("s", grid, workers=64, starter=Starter())
    assert "64 workers × 2 threads are more than this machine's" in capsys.readouterr().out
