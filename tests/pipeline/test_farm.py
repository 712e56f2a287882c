"""Tests of the farm with real sessions on simulated devices: killed at random, and with an unreachable device."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from edgeproof.config import params_file
from edgeproof.config.params import BenchParams, Params
from edgeproof.farm import engines
from edgeproof.records import record_files
from tests.support.bench_project import ITEM, build_study, write_project

KILLS = int(os.environ.get("EDGEPROOF_FARM_KILLS", "3"))

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(600)]


def compose_night(digits_study: Params, devices: Sequence[str] = ("desk", "lap")) -> Params:
    """Return a study with one session on each of several simulated devices."""
    chosen = build_study(digits_study, transport="fake", seeds=[4])
    content = {**ITEM, "transport": "fake", "seeds": [4], "all": ITEM["every"]}
    items = {f"{name}_matrix": BenchParams.model_validate({**content, "device": name}) for name in devices}
    return chosen.model_copy(update={"bench": items})


@pytest.fixture
def project(plugin_root: Path, tmp_path: Path, digits_study: Params, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    for name in ("desk", "lap"):
        (tmp_path / "devices" / f"{name}.yaml").write_text("transport: fake\nthreads: 1\n")
    (engines.FARM / "night").mkdir(parents=True)
    params_file.write_params(compose_night(digits_study), "test", engines.FARM / "night" / engines.PARAMS)
    return tmp_path


FARM = """
from pathlib import Path
from edgeproof import entry
from edgeproof.config import params_file
from edgeproof.farm import dispatcher, engines
dispatcher.FIRST_PAUSE_S = 0.01
study = params_file.read_params(engines.FARM / "night" / engines.PARAMS)
engine = engines.start_engine("local", "night", Path(), study, None)
entry.run(lambda: 0 if set(dispatcher.run_study(study, "night", engine, print).values()) == {"done"} else 1)
"""


def start_farm() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", FARM], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


EXPECTED = {
    ("matrix", "fp32", "accuracy"), ("matrix", "fp32", "single_stream"), ("null", "fp32", "single_stream"),
    ("matrix", "fp32", "profile"), ("matrix", "int8-static", "unsupported"),
}  # fmt: skip


def test_a_farm_killed_at_random_moments_continues_and_has_each_record_once(project: Path) -> None:
    moments = random.Random(0)
    for _ in range(KILLS):
        process = start_farm()
        time.sleep(moments.uniform(0.3, 5))
        process.kill()
        process.communicate()
    last = start_farm()
    printed, _ = last.communicate(timeout=200)
    assert last.returncode == 0, printed.decode()
    for device in ("desk", "lap"):
        records = list(record_files.read_all(engines.HISTORY / "night" / f"{device}_matrix"))
        first = [record for record in records if record.content["attempt"] == 0]
        jobs = Counter((r.content["runtime"], r.content["scheme"], r.content["scenario"]) for r in first)
        assert jobs == Counter(EXPECTED)
        assert {record.content["device"] for record in records} == {device}
    assert list(Path(".edgeproof/sessions").iterdir()) == []


def test_four_devices_that_start_at_once_in_a_fresh_checkout_are_all_measured(
    project: Path, digits_study: Params
) -> None:
    devices = ("desk", "lap", "attic", "barn")
    for name in devices:
        (project / "devices" / f"{name}.yaml").write_text("transport: fake\nthreads: 1\n")
    params_file.write_params(compose_night(digits_study, devices), "test", engines.FARM / "night" / engines.PARAMS)
    process = start_farm()
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0, printed.decode()
    assert b"failed" not in printed
    assert {path.name for path in (engines.HISTORY / "night").iterdir()} == {f"{name}_matrix" for name in devices}


def test_an_unreachable_device_goes_into_quarantine_with_an_error_for_every_job(project: Path) -> None:
    faults = project / ".edgeproof/devices/lap/faults.yaml"
    faults.parent.mkdir(parents=True)
    faults.write_text(yaml.safe_dump([{"call": "push", "fault": "link cut"}]))
    process = start_farm()
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert b"lap_matrix failed (4 of 4): device 'lap' can't be reached" in printed
    records = list(record_files.read_all(engines.HISTORY / "night" / "lap_matrix"))
    verdicts = {(r.content["runtime"], r.content["scheme"], r.content["scenario"]): r.verdict for r in records}
    assert set(verdicts) == EXPECTED
    assert verdicts.pop(("matrix", "int8-static", "unsupported")) == "unsupported"
    assert set(verdicts.values()) == {"error"}
    assert any("in quarantine since" in record.content["reasons"][0] for record in records)
    assert (engines.HISTORY / "night" / "desk_matrix").is_dir()
