"""Deploy, roll back and show versions on fake devices, through the command line."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeproof.cli import main
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ArtifactError, ConfigError, UnknownNameError
from edgeproof.deployment import device_deployment
from tests.support import deployment_project
from tests.support.deployment_project import OTHER_KEY, SIGNER, locate_deployment, name_version
from tests.unit.deployment.conftest import MakeProject


def deploy(version: str, devices: str, *options: str) -> int:
    words = ["deploy", name_version(version), "--devices", devices, "--bundle", f"bundles/{version}"]
    return main.run([*words, *options])


def read_deployed(root: Path, device: str) -> str:
    """Return the version that a device runs: the name of the sent bundle with the same manifest; '' for none."""
    current = locate_deployment(root, device) / "current"
    if not current.is_symlink():
        return ""
    manifest = hash_file(current.resolve(strict=True) / "bundle/MANIFEST.json")
    return next(path.name for path in (root / "bundles").iterdir() if hash_file(path / "MANIFEST.json") == manifest)


def list_versions(root: Path, device: str) -> list[str]:
    return sorted(path.name for path in (locate_deployment(root, device) / "versions").iterdir())


def write_faults(root: Path, device: str, *faults: dict[str, Any]) -> None:
    path = root / ".edgeproof/devices" / device / "faults.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(list(faults)))


# --- what a version's way to a device looks like ---------------------------------------------------------------------


def test_a_version_replaces_another_and_rollback_returns_to_it(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_project("pi")
    assert deploy("v1", "pi") == 0
    assert deploy("v2", "tag:kitchen") == 0
    assert read_deployed(root, "pi") == "v2"
    assert deploy("v3", "pi") == 0
    assert len(list_versions(root, "pi")) == 2, "only the current version and the one before stay"
    assert main.run(["rollback", "--devices", "pi"]) == 0
    assert read_deployed(root, "pi") == "v2"
    capsys.readouterr()
    assert main.run(["rollback", "--devices", "pi"]) == 0, "the same command again changes nothing"
    assert f"{name_version('v2')} runs again already" in capsys.readouterr().out
    assert main.run(["deployed"]) == 0
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split() == ["device", "version", "manifest", "since", "before", "state"]
    assert line.split()[:2] == ["pi", name_version("v2")]
    assert line.endswith("verified")
    state = json.loads((root / "results/deployments/pi.json").read_text())
    assert (state["version"], state["origin"]) == (name_version("v2"), "rollback")


def test_the_same_command_again_sends_and_changes_nothing(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_project("pi")
    deploy("v1", "pi")
    inode = (locate_deployment(root, "pi") / "current").lstat().st_ino
    write_faults(root, "pi", {"call": "push", "nth": 2, "fault": "disk full"})
    assert deploy("v1", "pi") == 0
    assert f"{name_version('v1')} runs already" in capsys.readouterr().out
    assert (locate_deployment(root, "pi") / "current").lstat().st_ino == inode


def test_the_device_runs_the_files_below_current(make_project: MakeProject) -> None:
    root = make_project("pi")
    deploy("v4", "pi")
    program = locate_deployment(root, "pi") / "current/bundle/run.pyz"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, str(program), "--check", "--signer", SIGNER]) == 0


def test_a_bundle_is_written_and_signed_with_the_configured_key(
    make_project: MakeProject, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project("pi")
    (root / "allowed_signers").unlink()
    for name in ("artifacts", "results"):
        shutil.copytree(bundles.parent / name, root / name)
    monkeypatch.setenv("EDGEPROOF_SIGNING_KEY", str(bundles.parent / "key"))
    monkeypatch.setenv("EDGEPROOF_PLUGINS", str(bundles.parent / "plugins"))
    sha256 = json.loads((bundles.parent / "first/bundle.json").read_text())["artifact_sha256"]
    message = f"{deployment_project.CELL}, artifact sha256 {sha256}"
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    deployment_project.run_git(root, *identity, "tag", "-a", name_version("v9"), "-m", message)
    assert main.run(["deploy", name_version("v9"), "--devices", "pi"]) == 0
    assert (root / ".edgeproof/bundles" / name_version("v9") / "MANIFEST.sig").is_file()
    with pytest.raises(ConfigError, match=r"the last records .* are of another artifact .*git checkout"):
        main.run(["deploy", name_version("v1"), "--devices", "pi"])


def test_a_wave_with_a_failure_stops_the_roll_out_and_the_next_commands_are_printed(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_project("attic", "barn", "cellar")
    write_faults(root, "barn", {"call": "push", "fault": "disk full"})
    assert deploy("v1", "tag:kitchen", "--wave", "34%", "--parallel", "2") == 1
    assert [read_deployed(root, name) for name in ("attic", "barn", "cellar")] == ["v1", "", ""]
    *_, counts, again, back = capsys.readouterr().out.splitlines()
    assert counts == "1 done, 1 failed, 1 not started", "34% of three devices are two, and barn is in the first wave"
    (root / ".edgeproof/devices/barn/faults.yaml").unlink()
    assert back == "To take the others back: edgeproof rollback --devices attic"
    command = again.partition("continue: edgeproof ")[2]
    assert main.run(shlex.split(command)) == 0
    assert [read_deployed(root, name) for name in ("attic", "barn", "cellar")] == ["v1", "v1", "v1"]


# --- refusals before anything is sent --------------------------------------------------------------------------------


def test_an_unknown_version_is_answered_with_those_that_exist(make_project: MakeProject) -> None:
    make_project("pi")
    with pytest.raises(UnknownNameError, match=r"Did you mean 'm-matrix-fp32@v1\.0\.0'"):
        main.run(["deploy", "m-matrix-fp32@v1.0.1", "--devices", "pi"])
    with pytest.raises(ConfigError, match="is not the name of a version"):
        main.run(["deploy", "--devices", "pi", "../v1"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda place: (place / "run.pyz").write_bytes(b"other"), "run.pyz is damaged: its sha256 differs"),
        (lambda place: deployment_project.sign_bundle(place, key=None), "is not signed. Sign it"),
        (lambda place: deployment_project.sign_bundle(place, key=OTHER_KEY), "only these keys are trusted"),
        (lambda place: deployment_project.sign_bundle(place, "9" * 64), "holds the artifact 999999999999, and"),
        (lambda place: (place / "artifact/link").symlink_to("/etc/passwd"), "artifact/link is not a regular file"),
    ],
    ids=["tampered", "unsigned", "another key", "another artifact", "a link"],
)
def test_a_bundle_that_is_not_trusted_is_never_sent(make_project: MakeProject, damage: Any, message: str) -> None:
    root = make_project("pi")
    damage(root / "bundles/v1")
    with pytest.raises(ArtifactError, match=message):
        deploy("v1", "pi")
    assert not (root / ".edgeproof/devices/pi").exists()


def test_a_missing_bundle_or_key_is_answered_with_the_next_command(make_project: MakeProject) -> None:
    root = make_project("pi")
    with pytest.raises(ConfigError, match=r"nowhere is not a bundle\. Write one: edgeproof bundle"):
        main.run(["deploy", name_version("v1"), "--devices", "pi", "--bundle", "nowhere"])
    with pytest.raises(ConfigError, match="there is no key to sign one"):
        main.run(["deploy", name_version("v1"), "--devices", "pi"])
    (root / "allowed_signers").unlink()
    with pytest.raises(ConfigError, match="no key is trusted to sign bundles"):
        deploy("v1", "pi")
    assert deploy("v1", "pi", "--signer", SIGNER) == 0


def test_a_selection_without_devices_is_refused(make_project: MakeProject) -> None:
    make_project("pi")
    with pytest.raises(ConfigError, match="no device has the tag 'attic'"):
        deploy("v1", "tag:attic")
    with pytest.raises(ConfigError, match="nothing was deployed yet"):
        main.run(["deployed"])
    with pytest.raises(ConfigError, match=r"a wave is a number of devices or a share of them"):
        deploy("v1", "pi", "--wave", "0%")


def test_a_card_without_a_budget_is_refused_unless_the_user_accepts_it(make_project: MakeProject) -> None:
    emulator = {"budget": {"latency_ms": 1}, "emulated": True}
    root = make_project(cards={"bare": {}, "energy": {"budget": {"energy_mj": 1}}, "emulator": emulator})
    with pytest.raises(ConfigError, match=r"the card of 'bare' has no budget\..*--without-budget"):
        deploy("v1", "bare")
    for name in ("energy", "emulator"):
        with pytest.raises(ConfigError, match=f"the card of '{name}' has no limit that a deployment can measure"):
            deploy("v1", name)
    assert not (root / ".edgeproof/devices").exists()
    assert deploy("v1", "bare", "--without-budget") == 0
    assert read_deployed(root, "bare") == "v1"


# --- refusals of the device: it keeps what it runs -------------------------------------------------------------------


def test_a_version_that_fails_its_check_or_breaks_a_budget_is_not_switched_to(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    cards = {"small": {"budget": {"size_mb": 1e-6}}, "fast": {"budget": {"latency_ms": 1e-6, "memory_mb": 4000}}}
    root = make_project("pi", cards=cards)
    deploy("v1", "pi")
    deployment_project.break_answers(root / "bundles/v4")
    capsys.readouterr()
    assert deploy("v4", "pi,small") == 1
    output = capsys.readouterr().out
    assert "0 of 6 answers agree" in output
    assert "small: failed: size is 1e-05 MB (limit 1e-06)" in output
    assert deploy("v5", "fast") == 1
    assert re.search(r"fast: failed: latency is up to \S+ ms \(limit 1e-06\) \(nothing", capsys.readouterr().out)
    assert [read_deployed(root, name) for name in ("pi", "small", "fast")] == ["v1", "", ""]
    assert len(list_versions(root, "pi")) == 1, "a refused version does not stay on the device"


def test_a_device_without_the_packages_of_a_bundle_refuses_it_with_the_next_command(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_project("pi", cards={"other": {"runtimes": {"onnx": None}, "budget": {"latency_ms": 1}}})
    content = json.loads((root / "bundles/v4/bundle.json").read_text())
    (root / "bundles/v4/bundle.json").write_text(json.dumps({**content, "packages": {"numpy": "0.1"}}))
    deployment_project.sign_bundle(root / "bundles/v4")
    assert deploy("v4", "pi,other") == 1
    output = capsys.readouterr().out
    assert "needs numpy 0.1, has" in output
    assert "python3 -m pip install -r requirements.txt" in output
    assert "device 'other' has no runtime 'matrix'" in output


def test_a_device_without_python_is_answered_with_the_doctor(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(cards={"bare": {"python": "/bin/false", "budget": {"latency_ms": 1}}})
    assert deploy("v1", "bare") == 1
    assert "the device's deployment program gave no answer: no output" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ([{"call": "push", "nth": 2, "fault": "disk full"}], "No space left on device"),
        ([{"call": "push", "fault": "link cut"}], "the link to the device was lost"),
        ([{"call": "run", "nth": 2, "fault": "hang"}], "the job was ended after"),
        ([{"call": "run", "nth": 1, "fault": "lying output", "text": '{"status": "done"}'}], "gave no answer"),
        ([{"call": "push", "nth": 2, "fault": "corrupted file"}], "was damaged on its way to the device"),
        ([{"call": "run", "nth": 2, "fault": "corrupted file"}], "gave no answer"),
    ],
    ids=["no space", "unreachable", "hang", "lie", "damaged on its way", "damaged program"],
)
def test_a_device_that_fails_keeps_its_version_and_the_same_command_repairs_it(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str], faults: list[dict[str, Any]], message: str
) -> None:
    root = make_project("pi")
    deploy("v1", "pi")
    write_faults(root, "pi", *faults)
    capsys.readouterr()
    assert deploy("v2", "pi") == 1
    output = capsys.readouterr().out
    assert message in output
    assert f"continue: edgeproof deploy {name_version('v2')} --devices pi --bundle bundles/v2" in output
    assert read_deployed(root, "pi") == "v1"
    assert main.run(["deployed"]) in (0, 1)
    (root / ".edgeproof/devices/pi/faults.yaml").unlink()
    assert deploy("v2", "pi") == 0
    assert read_deployed(root, "pi") == "v2"


def test_a_disk_that_is_too_small_is_noticed_before_the_bundle_is_sent(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project("pi")
    monkeypatch.setattr("edgeproof.deployment.device_deployment.SPACE_FACTOR", 1e12)
    assert deploy("v1", "pi") == 1
    assert "MB free, and the bundle needs" in capsys.readouterr().out
    assert not (locate_deployment(root, "pi") / "incoming").exists()


def test_a_lost_answer_of_a_switch_is_not_a_failure(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project("pi")
    deploy("v1", "pi")
    write_faults(root, "pi", {"call": "run", "nth": 2, "fault": "link cut"})  # the switch ran, its answer is lost
    faults = root / ".edgeproof/devices/pi/faults.yaml"
    monkeypatch.setattr(device_deployment, "time", types.SimpleNamespace(sleep=lambda _: faults.unlink()))
    capsys.readouterr()
    assert deploy("v2", "pi") == 0
    assert f"{name_version('v2')} runs already" in capsys.readouterr().out
    assert read_deployed(root, "pi") == "v2"
    assert main.run(["rollback", "--devices", "pi"]) == 0
    assert read_deployed(root, "pi") == "v1"


def test_two_hosts_do_not_change_one_device_at_once_and_a_crash_releases_the_lock(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_project("pi")
    deploy("v1", "pi")
    descriptor = os.open(locate_deployment(root, "pi") / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.pwrite(descriptor, b"process 7 on other-host", 0)
    try:
        assert deploy("v2", "pi") == 1
        assert "another host changes its deployments: process 7 on other-host" in capsys.readouterr().out
    finally:
        os.close(descriptor)  # as the kernel does when a process is killed
    assert read_deployed(root, "pi") == "v1"
    assert deploy("v2", "pi") == 0


# --- rollback --------------------------------------------------------------------------------------------------------


def test_a_rollback_without_a_version_before_or_with_a_damaged_one_changes_nothing(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_project("pi", "new")
    deploy("v1", "pi")
    assert main.run(["rollback", "--devices", "pi,new"]) == 1
    output = capsys.readouterr().out
    assert "pi: failed: there is no version before on the device" in output
    assert "new: failed: nothing is deployed here" in output
    deploy("v2", "pi")
    previous = next(
        path for path in (locate_deployment(root, "pi") / "versions").iterdir()
        if path.name != (locate_deployment(root, "pi") / "current").readlink().name
    )  # fmt: skip
    (previous / "bundle/artifact/matrix.npy").write_bytes(b"damaged")
    assert main.run(["rollback", "--devices", "pi"]) == 1
    assert "artifact/matrix.npy is damaged" in capsys.readouterr().out
    assert read_deployed(root, "pi") == "v2"


def test_what_a_loss_of_power_leaves_of_an_arrival_is_sent_again(make_project: MakeProject) -> None:
    root = make_project("pi")
    deploy("v1", "pi")
    sha256 = hash_file(root / "bundles/v2/MANIFEST.json")
    place = locate_deployment(root, "pi")
    (place / "versions" / f"{sha256}.1").mkdir()  # the name is on the disk, and the bundle was not moved there
    shutil.copytree(root / "bundles/v2", place / "incoming" / sha256)
    (place / "incoming" / sha256 / "MANIFEST.json").write_bytes(b"")
    assert deploy("v2", "pi") == 0
    assert read_deployed(root, "pi") == "v2"


# --- damage on the device --------------------------------------------------------------------------------------------


def test_damage_and_foreign_versions_are_shown_and_the_same_version_can_be_deployed_again(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_project("pi")
    deploy("v1", "pi")
    deploy("v2", "pi")
    (locate_deployment(root, "pi") / "current/bundle/artifact/matrix.npy").write_bytes(b"damaged")
    capsys.readouterr()
    assert main.run(["deployed"]) == 1
    assert "artifact/matrix.npy is damaged: its sha256 differs" in capsys.readouterr().out
    assert deploy("v2", "pi") == 0
    assert main.run(["deployed"]) == 0
    assert main.run(["rollback", "--devices", "pi"]) == 0
    assert read_deployed(root, "pi") == "v1", "a repair keeps the version before"
    path = root / "results/deployments/pi.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": "0" * 64, "version": "x@v7"}))
    capsys.readouterr()
    assert main.run(["deployed", "--devices", "pi"]) == 1
    assert f"{name_version('v1')} runs instead of x@v7" in capsys.readouterr().out
    path.write_text("{")
    assert main.run(["deployed"]) == 1
    assert "pi.json is damaged. Restore it from git" in capsys.readouterr().out


def test_facts_that_were_changed_on_the_device_are_stored_as_any_text(make_project: MakeProject) -> None:
    root = make_project("pi")
    deploy("v1", "pi")
    deploy("v2", "pi")
    assert main.run(["rollback", "--devices", "pi"]) == 0
    path = locate_deployment(root, "pi") / "current/version.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "since": "x" * 9000, "label": ""}))
    assert main.run(["rollback", "--devices", "pi"]) == 0, "the command again changes nothing"
    assert main.run(["deployed"]) == 0
    assert deploy("v1", "pi") == 0
    assert json.loads((root / "results/deployments/pi.json").read_text())["version"] == name_version("v1")


def test_a_device_whose_card_was_removed_does_not_hide_the_others(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_project("pi", "gone")
    deploy("v1", "pi,gone")
    (root / "devices/gone.yaml").unlink()
    capsys.readouterr()
    assert main.run(["deployed"]) == 1
    output = capsys.readouterr()
    assert output.out.splitlines()[1].startswith("pi ")
    assert "skipped device 'gone': it has no card." in output.err
    assert "remove results/deployments/gone.json" in output.err
    (root / "results/deployments/gone.json").unlink()
    assert main.run(["deployed"]) == 0


def test_an_unsigned_manifest_put_in_place_on_the_device_is_noticed(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_project("pi")
    deploy("v1", "pi")
    deployment_project.sign_bundle(locate_deployment(root, "pi") / "current/bundle", key=OTHER_KEY)
    assert main.run(["deployed"]) == 1
    assert "MANIFEST.json was changed: it is not the one that was deployed" in capsys.readouterr().out
