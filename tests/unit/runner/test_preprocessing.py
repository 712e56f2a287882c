"""Timing the preprocessing of raw inputs: durations that are known, and failures that are reasons."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core import directories
from edgeproof.core.job import PROFILE_MODE, RunnerJob
from edgeproof.devices import runner_zipapp
from edgeproof.runner import preprocessing

TASK = """
import numpy as np
from edgeproof.core.raw_inputs import RawInputs

def preprocess(raw):
    {body}

RAW_INPUTS = RawInputs(preprocess, lambda: [1, 2, 3], "three numbers", packages=("no-such-package",))
"""
SAMPLE = (np.zeros((1, 3, 2, 4), np.float32),)


class Machine:
    """A clock that advances by 1 µs for each microsecond of work, and by nothing else."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.seen: list[int] = []

    def work(self, duration_us: int) -> None:
        self.seen.append(duration_us)
        self.now_ns += 1000 * duration_us

    def read_ns(self) -> int:
        return self.now_ns


def test_a_preprocessing_that_sleeps_takes_the_time_that_it_sleeps() -> None:
    measured = preprocessing.time_preprocessing(lambda _: time.sleep(0.005), [None], warm_up_s=0)
    durations_ns = measured["durations_ns"]
    assert min(durations_ns) >= 5_000_000
    assert np.median(durations_ns) == pytest.approx(5e6, rel=0.5)


def test_every_duration_is_that_of_its_own_example_in_their_order() -> None:
    machine = Machine()
    measured = preprocessing.time_preprocessing(machine.work, [2_000, 3_000, 7_000], 0, machine.read_ns)
    assert measured["durations_ns"] == [1000 * work for work in machine.seen[measured["warm_up"]["calls"] :]]
    assert set(measured["durations_ns"]) == {2_000_000, 3_000_000, 7_000_000}
    assert 1_000_000_000 <= sum(measured["durations_ns"]) < 1_000_000_000 + 7_000_000


@pytest.mark.parametrize(("work_us", "count"), [(10, 2_000), (1_000, 1_000), (50_000, 100)])
def test_slow_preprocessing_is_repeated_a_hundred_times_and_fast_one_for_a_second(work_us: int, count: int) -> None:
    machine = Machine()
    assert len(preprocessing.time_preprocessing(machine.work, [work_us], 0, machine.read_ns)["durations_ns"]) == count


def measure(plugin_root: Path, job_dir: Path, body: str, **meta: Any) -> dict[str, Any]:
    (plugin_root / "tasks" / "numbers.py").write_text(TASK.format(body=body))
    (job_dir / "artifact").mkdir(parents=True)
    directories.write_meta(job_dir / "artifact", {"output_shape": [1, 3], **meta})
    job = RunnerJob("null", "artifact", ("samples.npy",), 1, PROFILE_MODE, "SingleStream", {}, 0.0, {})
    return preprocessing.measure(job, "numbers", job_dir, SAMPLE)


def test_the_conditions_of_a_figure_are_its_raw_inputs_and_packages(plugin_root: Path, tmp_path: Path) -> None:
    measured = measure(plugin_root, tmp_path / "job", "return np.zeros((1, 3, 2, 4), np.float32)")
    assert measured["raw_inputs"] == "three numbers"
    assert measured["versions"] == {"numpy": np.__version__, "no-such-package": None}
    assert len(measured["durations_ns"]) >= preprocessing.MIN_REPETITIONS


def test_the_inputs_get_the_layout_of_the_artifact(plugin_root: Path, tmp_path: Path) -> None:
    body = "return np.zeros((1, 4, 3, 2), np.float32)"
    assert "durations_ns" in measure(plugin_root, tmp_path / "job", body, input_layout="channels_last")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise OSError('no camera')", "OSError: no camera"),
        ("import no_such_decoder", "ModuleNotFoundError: No module named 'no_such_decoder'"),
        (
            "return np.zeros((1, 3, 2, 5), np.float32)",
            "ValueError: a raw input became float32 [1, 3, 2, 5], and the model takes float32 [1, 3, 2, 4]",
        ),
        (
            "return np.zeros((1, 3, 2, 4), np.uint8)",
            "ValueError: a raw input became uint8 [1, 3, 2, 4], and the model takes float32 [1, 3, 2, 4]",
        ),
    ],
)
def test_a_preprocessing_that_fails_or_makes_something_else_is_missing_with_its_reason(
    plugin_root: Path, tmp_path: Path, body: str, reason: str
) -> None:
    assert measure(plugin_root, tmp_path / "job", body) == {"missing": reason}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists the threads of a process")
def test_the_runner_preprocesses_in_one_thread(plugin_root: Path, tmp_path: Path) -> None:
    body = "import os; raise ValueError(f\"{len(os.listdir('/proc/self/task'))} thread\")"
    (plugin_root / "tasks" / "numbers.py").write_text(TASK.format(body=body))
    job_dir = tmp_path / "job"
    (job_dir / "artifact").mkdir(parents=True)
    directories.write_meta(job_dir / "artifact", {"output_shape": [1, 3]})
    np.save(job_dir / "samples.npy", SAMPLE[0])
    job = RunnerJob(
        "null", "artifact", ("samples.npy",), 1, PROFILE_MODE, "SingleStream", {}, 0.0, {}, preprocessing="numbers"
    )
    (job_dir / "job.json").write_text(json.dumps(job.to_json()))
    runner = runner_zipapp.pack("null", tmp_path, "numbers")
    subprocess.run([sys.executable, "-I", str(runner), str(job_dir), str(tmp_path / "result")], check=True)
    result = json.loads((tmp_path / "result" / "result.json").read_text())
    assert result["status"] == "unprofiled"
    assert result["preprocessing"] == {"missing": "ValueError: 1 thread"}
