"""The night's check of what is deployed: an alarm for other bytes, a broken budget, or a device that cannot say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeproof.cli import main
from edgeproof.config.params import Params
from edgeproof.core.errors import EdgeproofError
from edgeproof.deployment import device_deployment, night_check
from edgeproof.farm import alarms, dispatcher, leases, regression_check, run_params
from edgeproof.farm.alarm_details import DeploymentDetails
from tests.support.deployment_project import locate_deployment, name_version
from tests.unit.deployment.conftest import BUDGET, MakeProject

RUN = "2026-01-02"


def deploy(version: str) -> None:
    assert main.run(["deploy", name_version(version), "--devices", "pi", "--bundle", f"bundles/{version}"]) == 0


def check() -> list[str]:
    lines: list[str] = []
    written = night_check.check_deployments(RUN, device_deployment.list_targets(["pi"]), lines.append)
    assert [str(alarm) for alarm in written] == lines
    return lines


def test_an_intact_deployment_and_a_device_without_one_give_no_alarm(make_project: MakeProject) -> None:
    make_project("pi")
    assert check() == []
    deploy("v1")
    assert check() == []
    assert alarms.read_by_run() == {}


def test_changed_bytes_on_the_device_are_an_alarm_that_is_written_once(make_project: MakeProject) -> None:
    root = make_project("pi")
    deploy("v1")
    (locate_deployment(root, "pi") / "current/bundle/artifact/matrix.npy").write_bytes(b"x")
    (line,) = check()
    assert line.startswith(f"deployment: deployment on pi: {name_version('v1')}: artifact/matrix.npy is damaged")
    assert "'edgeproof deployed --devices pi' shows it again" in line
    check()
    (alarm,) = alarms.read_by_run()[RUN]
    assert alarm.needs_attention
    assert isinstance(alarm.details, DeploymentDetails)
    assert alarm.details.expected == alarm.details.actual


def test_another_version_than_the_deployed_one_is_an_alarm(make_project: MakeProject) -> None:
    root = make_project("pi")
    deploy("v1")
    state = (root / "results/deployments/pi.json").read_text()
    deploy("v2")
    (root / "results/deployments/pi.json").write_text(state)  # as after a deployment from another host
    (line,) = check()
    assert f"{name_version('v2')} runs instead of {name_version('v1')}" in line


def test_a_deployed_version_over_its_budget_is_an_alarm(make_project: MakeProject) -> None:
    root = make_project("pi")
    deploy("v4")
    card = {"transport": "fake", "threads": 1, "budget": {**BUDGET, "latency_ms": 1e-6}}
    (root / "devices/pi.yaml").write_text(yaml.safe_dump(card))
    (line,) = check()
    assert "latency is up to" in line
    assert "(limit 1e-06)" in line


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"call": "run", "fault": "link cut"}, "the link to the device was lost"),
        ({"call": "run", "fault": "lying output"}, "gave no answer"),
    ],
    ids=["unreachable", "lie"],
)
def test_a_device_that_cannot_say_is_an_alarm(make_project: MakeProject, fault: dict[str, Any], message: str) -> None:
    root = make_project("pi")
    deploy("v1")
    (root / ".edgeproof/devices/pi/faults.yaml").write_text(yaml.safe_dump([fault]))
    (line,) = check()
    assert message in line


def test_a_device_that_is_being_deployed_to_is_not_measured(make_project: MakeProject) -> None:
    make_project("pi")
    deploy("v1")
    with leases.hold("pi", "something else"):
        (line,) = check()
    assert "is in use by" in line


def test_a_night_whose_deployment_is_damaged_exits_with_1(
    make_project: MakeProject,
    digits_study: Params,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = make_project("pi")
    deploy("v1")
    item = next(iter(digits_study.bench.values())).model_copy(update={"device": "pi"})
    params = digits_study.model_copy(update={"bench": {"pi_onnx": item}})
    monkeypatch.setattr(run_params, "prepare_run", lambda *_: (params, Path("nothing")))
    monkeypatch.setattr(dispatcher, "run_study", lambda *_: {"pi_onnx": "done"})

    class Clean:
        faster, damaged, summary, is_clean = (), (), "nothing to report", True

    monkeypatch.setattr(regression_check, "check", lambda *_: Clean())
    assert main.run(["farm", "run", "--name", RUN, "--devices", "pi"]) == 0
    assert "deployments: 1 of 1 device(s) run their version unchanged" in capsys.readouterr().out

    def fail(*_: object) -> None:
        raise EdgeproofError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(night_check, "check_deployments", fail)
        assert main.run(["farm", "run", "--name", RUN, "--devices", "pi"]) == 1
    output = capsys.readouterr()
    assert "the check of deployments failed: no space left" in output.err
    assert "nothing to report" in output.out, "the night is checked all the same"
    (locate_deployment(root, "pi") / "current").unlink()
    assert main.run(["farm", "run", "--name", RUN, "--devices", "pi"]) == 1
    assert f"nothing is deployed instead of {name_version('v1')}" in capsys.readouterr().out


def test_an_alarm_about_a_deployment_is_read_back_as_it_was_written(make_project: MakeProject) -> None:
    make_project("pi")
    details = DeploymentDetails(None, "a" * 64, ["one", "two"])
    written = alarms.write(alarms.Alarm("deployment", RUN, "deployment on pi", "text", details))
    assert alarms.find_latest(RUN, "deployment on pi") == written
    assert not list(alarms.list_damaged(RUN))
