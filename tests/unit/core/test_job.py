"""job.json: what the host writes is what the device reads, and anything else is refused with its keys."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core import job as core_job
from edgeproof.core.job import INTERLEAVED_MODE, InterleavedPartner, RunnerJob

JOB = RunnerJob(
    runtime="null",
    artifact="../../store/a",
    samples=("../../store/s.npy", "../../store/t.npy"),
    threads=2,
    mode="PerformanceOnly",
    scenario="Server",
    settings={"min_duration_ms": 10, "server_target_qps": 1.5},
    warm_up_s=0.5,
    packages={"numpy": "2.0"},
    samples_sha256=("s", "t"),
    task="digits",
    cores=[0, 1],
    memory_bytes=10**9,
)
PARTNER = InterleavedPartner(
    against="../../store/b", against_samples=("../../store/s.npy",), order_seed=3, duration_ms=50
)
INTERLEAVED = replace(JOB, mode=INTERLEAVED_MODE, partner=PARTNER)


@pytest.mark.parametrize("job", [JOB, INTERLEAVED], ids=["one artifact", "two artifacts"])
def test_a_job_survives_the_way_through_its_file(tmp_path: Path, job: RunnerJob) -> None:
    (tmp_path / "job.json").write_text(json.dumps(job.to_json()))
    assert core_job.read(tmp_path) == job


def test_a_job_of_an_earlier_version_has_one_input() -> None:
    content = {**INTERLEAVED.to_json(), "samples": "s.npy", "samples_sha256": "s", "against_samples": "t.npy"}
    del content["task"], content["preprocessing"]
    job = RunnerJob.from_json(content)
    assert (job.samples, job.samples_sha256, job.task) == (("s.npy",), ("s",), None)
    assert job.partner is not None
    assert job.partner.against_samples == ("t.npy",)


def test_a_job_has_the_keys_that_records_have_always_had_and_its_task() -> None:
    keys = {
        "runtime", "artifact", "samples", "samples_sha256", "threads", "mode", "scenario", "settings", "warm_up_s",
        "packages", "task", "preprocessing", "audit", "energy_counter", "cores", "memory_bytes",
    }  # fmt: skip
    assert set(JOB.to_json()) == keys
    assert set(INTERLEAVED.to_json()) == keys | {"against", "against_samples", "order_seed", "duration_ms"}


@pytest.mark.parametrize(
    ("content", "problems"),
    [
        ({**JOB.to_json(), "thread": 1}, "unknown key 'thread'"),
        ({key: value for key, value in JOB.to_json().items() if key != "mode"}, "missing key 'mode'"),
        ({"runtime": "null"}, "missing key 'artifact'.*missing key 'warm_up_s'"),
        ({**JOB.to_json(), "against": "b"}, "missing key 'against_samples', .*'duration_ms', .*'order_seed'"),
        ([], "not a JSON object"),
    ],
)
def test_a_file_with_unknown_or_missing_keys_is_refused_with_all_of_them(
    tmp_path: Path, content: Any, problems: str
) -> None:
    (tmp_path / "job.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"job\.json does not describe a job: {problems}"):
        core_job.read(tmp_path)


def test_keys_with_a_default_may_be_left_out() -> None:
    optional = ("samples_sha256", "task", "audit", "energy_counter", "cores", "memory_bytes")
    content = {key: value for key, value in JOB.to_json().items() if key not in optional}
    assert RunnerJob.from_json(content) == replace(JOB, samples_sha256=None, task=None, cores=None, memory_bytes=None)
