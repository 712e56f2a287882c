"""Whole sessions on a device that fails at random: every job ends as a record, and none says what is not so."""

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
from tests.unit.bench.test_session import any_machine_is_quiet_enough, study, write_project
from tests.unit.conftest import digits_study, plugin_root

__all__ = ["any_machine_is_quiet_enough", "digits_study", "plugin_root"]

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(600)]

SESSIONS = int(os.environ.get("EDGEPROOF_FAULT_SESSIONS", "3"))


def script(chance: random.Random) -> list[dict[str, Any]]:
    """A handful of faults, each at some call."""
    return [
        {"call": call, "fault": chance.choice(fake.POSSIBLE[call]), "nth": chance.randint(1, 9)}
        for call in chance.choices(list(fake.POSSIBLE), k=chance.randint(1, 6))
    ]


@pytest.mark.parametrize("seed", range(SESSIONS))
def test_a_session_with_random_faults_ends_with_every_job_recorded_and_no_wrong_verdict(
    seed: int, digits_study: Params, plugin_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    (tmp_path / "devices" / "desk.yaml").write_text("transport: fake\nthreads: 1\n")
    faults = tmp_path / ".edgeproof/devices/desk/faults.yaml"
    faults.parent.mkdir(parents=True)
    faults.write_text(yaml.safe_dump(script(random.Random(seed))))
    chosen = study(digits_study, transport="fake", seeds=[4])
    for _ in range(10):  # a session that gives up is continued, as its message says
        with contextlib.suppress(DeviceError):
            session.bench("desk_matrix", chosen)
            break
    found = list(record_files.read_all(tmp_path / "results/records"))
    jobs = {(r.content["runtime"], r.content["scheme"], r.content["scenario"]) for r in found}
    assert jobs == {
        ("null", "fp32", "single_stream"), ("matrix", "fp32", "accuracy"), ("matrix", "fp32", "single_stream"),
        ("matrix", "fp32", "server"), ("matrix", "fp32", "profile"), ("matrix", "int8-static", "unsupported"),
    }  # fmt: skip
    places = [(r.content["runtime"], r.content["scenario"], r.content["attempt"]) for r in found]
    assert len(set(places)) == len(places)
    for record in found:
        assert record.verdict == "valid" or record.content["reasons"]
        if record.content["scenario"] == "accuracy" and record.verdict == "valid":
            assert record.content["accuracy"] == {"correct": 40, "total": 50}
            assert record.array("outputs.npz", "outputs").shape == (50, 3)
        if record.content["scenario"] == "single_stream" and record.verdict == "valid":
            log = record.content["result"]["loadgen"]
            assert len(record.array("latencies.npz", "call_ns")) == log["result_query_count"]
    assert list((tmp_path / ".edgeproof/devices/desk/jobs").glob("*")) == []
