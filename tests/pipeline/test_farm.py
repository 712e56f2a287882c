"""The farm with real sessions on devices that this machine plays: killed at any moment, and with a device gone."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from edgeproof.config import params_file
from edgeproof.config.params import BenchParams, Params
from edgeproof.farm import engines
from edgeproof.records import record_files
from tests.support.bench_project import ITEM, build_study, write_project
from tests.unit.conftest import digits_study, plugin_root

__all__ = ["digits_study", "plugin_root"]

KILLS = int(os.environ.get("EDGEPROOF_FARM_KILLS", "3"))

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(600)]


def nightly(digits_study: Params) -> Params:
    """One session on each of two devices that this machine plays."""
    chosen = build_study(digits_study, transport="fake", seeds=[4])
    content = {**ITEM, "transport": "fake", "seeds": [4], "all": ITEM["every"]}
    items = {f"{name}_matrix": BenchParams.model_validate({**content, "device": name}) for name in ("desk", "lap")}
    return chosen.model_copy(update={"bench": items})


@pytest.fixture
def project(plugin_root: Path, tmp_path: Path, digits_study: Params, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    for name in ("desk", "lap"):
        (tmp_path / "devices" / f"{name}.yaml").write_text("transport: fake\nthreads: 1\n")
    (engines.FARM / "night").mkdir(parents=True)
    params_file.write_params(nightly(digits_study), "test", engines.FARM / "night" / engines.PARAMS)
    return tmp_path


FARM = """
from pathlib import Path
from edgeproof import entry
from edgeproof.config import params_file
from edgeproof.farm import engines, running
running.FIRST_PAUSE_S = 0.01
study = params_file.read_params(engines.FARM / "night" / engines.PARAMS)
engine = engines.started("local", "night", Path(), study, None)
entry.run(lambda: 0 if set(running.farm(study, "night", engine, print).values()) == {"done"} else 1)
"""


def farm_process() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", FARM], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


EXPECTED = {
    ("matrix", "fp32", "accuracy"), ("matrix", "fp32", "single_stream"), ("null", "fp32", "single_stream"),
    ("matrix", "fp32", "profile"), ("matrix", "int8-static", "unsupported"),
}  # fmt: skip


def test_killed_at_any_moment_the_farm_goes_on_and_ends_with_each_record_once(project: Path) -> None:
    moments = random.Random(0)
    for _ in range(KILLS):
        process = farm_process()
        time.sleep(moments.uniform(0.3, 5))
        process.kill()
        process.communicate()
    last = farm_process()
    printed, _ = last.communicate(timeout=200)
    assert last.returncode == 0, printed.decode()
    for device in ("desk", "lap"):
        found = list(record_files.read_all(engines.HISTORY / "night" / f"{device}_matrix"))
        first = [record for record in found if record.content["attempt"] == 0]
        what = Counter((r.content["runtime"], r.content["scheme"], r.content["scenario"]) for r in first)
        assert what == Counter(EXPECTED)
        assert {record.content["device"] for record in found} == {device}
    assert list(Path(".edgeproof/sessions").iterdir()) == []


def test_a_device_that_is_gone_ends_in_quarantine_with_an_error_for_every_job(project: Path) -> None:
    faults = project / ".edgeproof/devices/lap/faults.yaml"
    faults.parent.mkdir(parents=True)
    faults.write_text(yaml.safe_dump([{"call": "push", "fault": "link cut"}]))
    process = farm_process()
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert b"lap_matrix failed (4 of 4): device 'lap' can't be reached" in printed
    found = list(record_files.read_all(engines.HISTORY / "night" / "lap_matrix"))
    verdicts = {(r.content["runtime"], r.content["scheme"], r.content["scenario"]): r.verdict for r in found}
    assert set(verdicts) == EXPECTED
    assert verdicts.pop(("matrix", "int8-static", "unsupported")) == "unsupported"
    assert set(verdicts.values()) == {"error"}
    assert any("in quarantine since" in record.content["reasons"][0] for record in found)
    assert (engines.HISTORY / "night" / "desk_matrix").is_dir()
