"""Tests of whole sessions on a device that fails at random: every job has a record, and no record is false."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeproof.bench import session
from edgeproof.config.params import Params
from edgeproof.core.errors import DeviceError
from edgeproof.records import record_files
from edgeproof.transports import fake
from tests.support.bench_project import build_study, write_project
from tests.support.record_trees import count_correct
from tests.support.verdict_limits import TOLERANT

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(600)]

SESSIONS = int(os.environ.get("EDGEPROOF_FAULT_SESSIONS", "3"))


def choose_faults(chance: random.Random) -> list[dict[str, Any]]:
    """Return one to six faults at random calls."""
    return [
        {"call": call, "fault": chance.choice(fake.FAULTS_BY_CALL[call]), "nth": chance.randint(1, 9)}
        for call in chance.choices(list(fake.FAULTS_BY_CALL), k=chance.randint(1, 6))
    ]


@pytest.mark.parametrize("seed", range(SESSIONS))
def test_a_session_with_random_faults_records_every_job_without_a_false_verdict(
    seed: int, digits_study: Params, plugin_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    (tmp_path / "devices" / "desk.yaml").write_text("transport: fake\nthreads: 1\n")
    faults = tmp_path / ".edgeproof/devices/desk/faults.yaml"
    faults.parent.mkdir(parents=True)
    faults.write_text(yaml.safe_dump(choose_faults(random.Random(seed))))
    chosen = build_study(digits_study, transport="fake", seeds=[4])
    for _ in range(10):  # run it again when it gives up, as its message says
        with contextlib.suppress(DeviceError):
            session.run_study_session("desk_matrix", chosen, TOLERANT)
            break
    records = list(record_files.read_all(tmp_path / "results/records"))
    jobs = {(r.content["runtime"], r.content["scheme"], r.content["scenario"]) for r in records}
    assert jobs == {
        ("null", "fp32", "single_stream"), ("matrix", "fp32", "accuracy"), ("matrix", "fp32", "single_stream"),
        ("matrix", "fp32", "server"), ("matrix", "fp32", "profile"), ("matrix", "int8-static", "unsupported"),
    }  # fmt: skip
    places = [(r.content["runtime"], r.content["scenario"], r.content["attempt"]) for r in records]
    assert len(set(places)) == len(places)
    for record in records:
        assert record.verdict == "valid" or record.content["reasons"]
        if record.content["scenario"] == "accuracy" and record.verdict == "valid":
            assert count_correct(record) == (40, 50)
            assert record.read_array("outputs.npz", "outputs").shape == (50, 3)
        if record.content["scenario"] == "single_stream" and record.verdict == "valid":
            log = record.content["result"]["loadgen"]
            assert len(record.read_array("latencies.npz", "call_ns")) == log["result_query_count"]
    assert list((tmp_path / ".edgeproof/devices/desk/jobs").glob("*")) == []
