"""Mistakes of users give one clear message, exit code 2, no traceback and no incomplete file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.project_clones import ProjectClone, clone_project, edit_temporarily

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> ProjectClone:
    return clone_project(tmp_path_factory.mktemp("bad-input"))


CASES = {
    "study": (["repro", "digitz"], ["study 'digitz'", "Did you mean 'digits'", "fashion_mnist"]),
    "task": (["compose", "task=digit"], ["task 'digit'", "Did you mean 'digits'", "conf/tasks/digit.yaml"]),
    "method": (["compose", "models.student.method=destill"], ["method 'destill'", "Did you mean 'distill'"]),
    "network": (["compose", "models.teacher.network=resnet9"], ["network 'resnet9'", "resnet8"]),
    "runtime": (["compose", "bench.runtimes=[tflight]"], ["runtime 'tflight'", "tflite", "conf/runtimes/tflight.yaml"]),
    "scheme": (["compose", "models.teacher.schemes=[int4]"], ["scheme 'int4'", "int8-static"]),
    "device": (["compose", "bench.devices=[raspi]"], ["device 'raspi'", "local", "devices/raspi.yaml"]),
    "scenario": (["compose", "bench.final=[offlin]"], ["scenario 'offlin'", "Did you mean 'offline'"]),
    "key": (["compose", "distill.temprature=2"], ["temprature"]),
    "option": (["compose", "+models.teacher.options.epoch=2"], ["epoch: unknown key", "Did you mean 'epochs'"]),
    "type": (["compose", "seed=many"], ["seed", "many"]),
    "ratio": (["compose", "prune.ratio=1.2"], ["ratio", "less than 1", "1.2"]),
    "temperature": (["compose", "distill.temperature=0"], ["temperature", "greater than 0"]),
    "threads": (["compose", "threads=0"], ["threads", "greater than or equal to 1"]),
    "parent": (["compose", "models.student_slim.parent=studnt"], ["parent model 'studnt'", "Did you mean 'student'"]),
    "cycle": (["compose", "~models.student.network", "~models.student.network_options",
               "+models.student.parent=student_slim"], ["cycle", "student_slim"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_value_is_refused_with_the_known_ones_and_changes_nothing(case: str, fresh: ProjectClone) -> None:
    arguments, expected = CASES[case]
    done = fresh.edgeproof(*arguments, check=False)
    assert done.returncode == 2, done.stderr
    for text in expected:
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert fresh.run("git", "status", "--porcelain").stdout == ""


def test_a_stage_refuses_an_invalid_value_in_params(fresh: ProjectClone) -> None:
    with edit_temporarily(fresh.path / "params.yaml", ("    processes: 4", "    processes: 0")):
        done = fresh.run("python", "-m", "stages.prepare", check=False)
    assert done.returncode == 2
    assert "processes" in done.stderr
    assert "greater than or equal to 1" in done.stderr


def test_a_run_does_not_overwrite_params_edited_by_hand(fresh: ProjectClone) -> None:
    path = fresh.path / "params.yaml"
    with edit_temporarily(path, ("quality_target: 0.9", "quality_target: high")):
        done = fresh.edgeproof("repro", check=False)
        assert done.returncode == 2
        assert "quality_target" in done.stderr
        assert "quality_target: high" in path.read_text()


def test_a_missing_package_is_reported_with_the_command_that_installs_it(fresh: ProjectClone) -> None:
    with edit_temporarily(fresh.path / "requirements.lock", ("onnxruntime==", "onnxruntime-not-there==")):
        done = fresh.edgeproof("compose", check=False)
    assert done.returncode == 2
    assert "onnxruntime" in done.stderr
    assert "make setup" in done.stderr


def test_failed_downloads_are_reported_with_reasons_and_the_study_without_a_download(fresh: ProjectClone) -> None:
    (fresh.path / "data/fashion-mnist").mkdir(parents=True)
    (fresh.path / "data/fashion-mnist/train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b damaged")
    address = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    replacements = [
        (address, "http://localhost:9/none"),
        ("package: dataset-fashion-mnist", "package: dataset-that-is-not-there"),
    ]
    with edit_temporarily(fresh.path / "params.yaml", *replacements):
        done = fresh.run("python", "-m", "stages.prepare", check=False)
    assert done.returncode == 2
    for text in ("damaged gzip", "localhost:9", "dataset-that-is-not-there", "make repro STUDY=digits"):
        assert text in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not (fresh.path / "data/fashion_mnist").exists() or not list((fresh.path / "data/fashion_mnist").iterdir())


def test_a_full_disk_gives_one_message_and_no_incomplete_files(fresh: ProjectClone, tmp_path: Path) -> None:
    """A limit on the size of written files simulates the full disk."""
    fresh.edgeproof("compose", "study=digits")
    fresh.run("python", "-m", "stages.prepare")
    done = fresh.run("bash", "-c", "ulimit -f 40; python -m stages.model teacher", check=False)
    assert done.returncode == 2, done.stderr
    assert "could not write" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (fresh.path / "models/teacher").exists()
    fresh.run("git", "checkout", "params.yaml")
