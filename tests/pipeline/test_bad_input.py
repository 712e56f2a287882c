"""What a user can get wrong: one clear message, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.conftest import Clone, clone, edited

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return clone(tmp_path_factory.mktemp("bad-input"))


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
def test_a_wrong_name_or_value_says_what_is_known_and_changes_nothing(case: str, fresh: Clone) -> None:
    arguments, expected = CASES[case]
    done = fresh.edgeproof(*arguments, check=False)
    assert done.returncode == 2, done.stderr
    for text in expected:
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert fresh.run("git", "status", "--porcelain").stdout == ""


def test_a_value_edited_into_params_is_refused_by_the_stage_that_reads_it(fresh: Clone) -> None:
    with edited(fresh.path / "params.yaml", ("    processes: 4", "    processes: 0")):
        done = fresh.run("python", "-m", "stages.prepare", check=False)
    assert done.returncode == 2
    assert "processes" in done.stderr
    assert "greater than or equal to 1" in done.stderr


def test_params_edited_by_hand_are_not_overwritten_by_a_run(fresh: Clone) -> None:
    path = fresh.path / "params.yaml"
    with edited(path, ("quality_target: 0.9", "quality_target: 2.5")):
        done = fresh.edgeproof("repro", check=False)
        assert done.returncode == 2
        assert "quality_target" in done.stderr
        assert "2.5" in path.read_text()


def test_a_missing_package_is_named_with_the_command_that_installs_it(fresh: Clone) -> None:
    with edited(fresh.path / "requirements.lock", ("onnxruntime==", "onnxruntime-not-there==")):
        done = fresh.edgeproof("compose", check=False)
    assert done.returncode == 2
    assert "onnxruntime" in done.stderr
    assert "make setup" in done.stderr


def test_when_no_source_works_each_is_named_with_its_reason_and_the_study_without_a_download(fresh: Clone) -> None:
    (fresh.path / "data/fashion-mnist").mkdir(parents=True)
    (fresh.path / "data/fashion-mnist/train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b damaged")
    address = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    replacements = [
        (address, "http://localhost:9/none"),
        ("package: dataset-fashion-mnist", "package: dataset-that-is-not-there"),
    ]
    with edited(fresh.path / "params.yaml", *replacements):
        done = fresh.run("python", "-m", "stages.prepare", check=False)
    assert done.returncode == 2
    for text in ("damaged gzip", "localhost:9", "dataset-that-is-not-there", "make repro STUDY=digits"):
        assert text in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not (fresh.path / "data/fashion_mnist").exists() or not list((fresh.path / "data/fashion_mnist").iterdir())


def test_a_full_disk_is_one_message_and_leaves_nothing_half_written(fresh: Clone, tmp_path: Path) -> None:
    """A limit on the size of files that a process may write stands for the disk."""
    fresh.edgeproof("compose", "study=digits")
    fresh.run("python", "-m", "stages.prepare")
    done = fresh.run("bash", "-c", "ulimit -f 40; python -m stages.model teacher", check=False)
    assert done.returncode == 2, done.stderr
    assert "could not write" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (fresh.path / "models/teacher").exists()
    fresh.run("git", "checkout", "params.yaml")
