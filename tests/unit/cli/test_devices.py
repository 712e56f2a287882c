"""The command `edgeproof devices`: list, show, add, probe and diagnose devices."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeproof.cli import main
from edgeproof.config import cards, packages
from edgeproof.core.errors import ConfigError, DeviceError
from edgeproof.devices import doctor, registration
from tests.support.project import ROOT

DESCRIPTION = {
    "fingerprint": {"architecture": "aarch64", "cpu": "Cortex-A72", "cores": 4, "affinity": [0, 1, 2, 3]},
    "versions": {"onnxruntime": None, "numpy": "1.0", "mlcommons-loadgen": None},
    "problems": {},
    "tools": [],
    "energy": False,
    "disk_free_bytes": 10**10,
    "memory_available_bytes": None,
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    for name in ("requirements.lock", "requirements-runtimes.lock"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "devices").mkdir()
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_card(project: Path, name: str, **lines: Any) -> None:
    (project / "devices" / f"{name}.yaml").write_text(yaml.safe_dump({"transport": "local", "threads": 1, **lines}))


def write_interpreter(project: Path, description: Any, code: int = 0) -> str:
    """Write a Python interpreter that prints the description of a device, and return its path."""
    path = project / "python-of-the-board"
    text = description if isinstance(description, str) else json.dumps(description)
    (project / "description").write_text(text)
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *--describe*) cat {project}/description; exit {code};; esac\n'
        f'exec {sys.executable} "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


def test_list_shows_the_cards_and_their_differences(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_card(project, "desk", tags=["here", "fast"])
    write_card(project, "pi", transport="ssh", host="pi4", architecture="aarch64", threads=4)
    assert main.run(["devices", "list"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "transport", "host", "architecture", "threads", "tags"]
    assert [line.split() for line in lines] == [
        ["desk", "local", "–", "–", "1", "here,fast"],
        ["pi", "ssh", "pi4", "aarch64", "4", "–"],
    ]
    assert main.run(["devices", "list", "--tag", "fast"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["name", "desk"]


def test_list_shows_the_good_cards_and_the_reason_of_a_bad_one(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_card(project, "a_bad", threads=0)
    write_card(project, "desk")
    (project / "devices/z_bad.yaml").write_text("transport: local\nthreads: 1\nthreads: 2\n")
    assert main.run(["devices", "list"]) == 1
    output = capsys.readouterr()
    assert [line.split()[0] for line in output.out.splitlines()] == ["name", "desk"]
    assert "skipped device 'a_bad': devices/a_bad.yaml" in output.err
    assert "skipped device 'z_bad': devices/z_bad.yaml, line 3: duplicate key 'threads'" in output.err


def test_show_prints_a_card_with_its_defaults(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_card(project, "desk")
    assert main.run(["devices", "show", "desk"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == cards.read("desk").model_dump(mode="json")


# --- add and probe -------------------------------------------------------------------------------------------------


def test_add_writes_the_card_of_this_machine(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["devices", "add", "desk", "--transport", "local", "--tags", "here", "--threads", "2"]) == 0
    card = cards.read("desk")
    assert (card.architecture, card.threads, card.tags) == (platform.machine(), 2, ["here"])
    assert card.fingerprint is not None
    assert card.fingerprint.kernel == platform.release()
    assert card.fingerprint.python == platform.python_version()
    known = registration.list_runtime_packages(("executorch", "mnn", "ncnn", "tflm")).items()
    here = {name for name, needed in known if not any(packages.describe_difference(*pair) for pair in needed.items())}
    assert here >= {"onnx", "openvino", "tflite"}
    assert set(card.runtimes or {}) == here
    assert main.run(["devices", "probe", "desk"]) == 0
    assert "'desk' matches its card." in capsys.readouterr().out


def test_add_lists_the_runtimes_of_extras_that_the_device_has(project: Path) -> None:
    python = write_interpreter(project, {**DESCRIPTION, "problems": {}})
    assert main.run(["devices", "add", "desk", "--transport", "local", "--python", python]) == 0
    assert set(cards.read("desk").runtimes or {}) == {
        "executorch",
        "mnn",
        "ncnn",
        "onnx",
        "openvino",
        "tflm",
        "tflite",
    }


def test_probe_prints_changes_and_the_new_fingerprint(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_card(project, "desk", fingerprint={"architecture": platform.machine(), "kernel": "2.4.0"})
    assert main.run(["devices", "probe", "desk"]) == 1
    changed, text, rest = capsys.readouterr().out.split("\n", 2)
    assert changed == f"changed: kernel: 2.4.0 → {platform.release()}"
    assert text == "To accept the device as it is now, put this into devices/desk.yaml:"
    write_card(project, "desk", **yaml.safe_load(rest))
    assert main.run(["devices", "probe", "desk"]) == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["desk", "--transport", "locl"], "Did you mean 'local'?"),
        (["Desk", "--transport", "local"], "'Desk' is not a valid name of a device"),
        (["../desk", "--transport", "local"], "is not a valid name of a device"),
        (["pi"], "transport 'ssh' needs 'host'"),
        (["pi", "--host=-oProxyCommand=x"], "host"),
        (["desk", "--transport", "local", "--threads", "0"], "threads"),
        (["there", "--transport", "local"], "there.yaml already exists"),
    ],
)
def test_add_with_invalid_arguments_writes_no_card(project: Path, argv: list[str], message: str) -> None:
    write_card(project, "there")
    with pytest.raises(ConfigError) as caught:
        main.run(["devices", "add", *argv])
    assert message in str(caught.value)
    assert [path.name for path in project.rglob("*.yaml") if "conf" not in path.parts] == ["there.yaml"]


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("", "not JSON"),
        ("hello", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("{}", "is invalid: fingerprint"),
        ({**DESCRIPTION, "fingerprint": {"cores": "four"}}, "is invalid: cores"),
        ({**DESCRIPTION, "disk_free_bytes": -1}, "disk_free_bytes"),
    ],
)
def test_add_with_an_invalid_description_writes_no_card(project: Path, description: Any, message: str) -> None:
    argv = ["devices", "add", "pi", "--transport", "local", "--python", write_interpreter(project, description)]
    with pytest.raises(DeviceError, match=message):
        main.run(argv)
    assert list((project / "devices").iterdir()) == []


# --- doctor --------------------------------------------------------------------------------------------------------


def diagnose(project: Path, capsys: pytest.CaptureFixture[str], **lines: Any) -> list[str]:
    write_card(project, "pi", **lines)
    code = main.run(["devices", "doctor", "pi"])
    lines_printed = capsys.readouterr().out.splitlines()
    assert code == (0 if "has everything it needs" in lines_printed[0] else 1)
    return lines_printed


def test_doctor_reports_a_device_that_lacks_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diagnose(project, capsys) == ["'pi' has everything it needs. Runtimes: onnx, openvino, tflite."]


def test_doctor_prints_the_commands_that_install_missing_packages(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = write_interpreter(project, DESCRIPTION)
    printed = diagnose(project, capsys, python=python, runtimes={"onnx": None})
    pairs = dict(zip(printed[::2], map(str.strip, printed[1::2]), strict=True))
    text = (ROOT / "requirements.lock").read_text().replace("_", "-")
    lock = dict(line.split("==") for line in text.split() if "==" in line)
    onnx, loadgen = lock["onnxruntime"], lock["mlcommons-loadgen"]
    assert pairs["onnxruntime is not installed"] == f"{python} -m pip install onnxruntime=={onnx}"
    # LoadGen has no wheel for aarch64, so it is built from source.
    assert pairs["mlcommons-loadgen is not installed"] == (
        "apt-get install g++ python3-dev && "
        f"{python} -m pip install --no-binary mlcommons-loadgen mlcommons-loadgen=={loadgen}"
    )
    assert pairs[f"numpy is 1.0, this study measures {lock['numpy']}"].endswith(f"numpy=={lock['numpy']}")


def test_doctor_names_every_runtime_that_a_new_board_without_any_may_get(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = diagnose(project, capsys, python=write_interpreter(project, DESCRIPTION), runtimes={})
    for package in ("onnxruntime", "openvino", "ai-edge-litert"):
        assert f"{package} is not installed" in printed


def test_a_wheel_of_loadgen_is_installed_if_there_is_one() -> None:
    assert doctor.install_command("python3", "mlcommons-loadgen", "6.0", "x86_64") == (
        "python3 -m pip install mlcommons-loadgen==6.0"
    )


COMPLETE = {**DESCRIPTION, "versions": {}}


@pytest.mark.parametrize(
    ("lines", "description", "problem", "cure"),
    [
        ({"python": "/nowhere/python"}, None, "/nowhere/python", "apt-get install python3 python3-venv"),
        ({"python": "false"}, None, "'false' is no Python 3.11 or newer", "apt-get install python3"),
        ({"cores": [9]}, COMPLETE, "it has no processor 9", "'cores'"),
        ({"architecture": "x86_64"}, COMPLETE, "its architecture is aarch64, the card says x86_64", "card"),
        ({"instructions": "callgrind"}, COMPLETE, "valgrind, which counts", "apt-get install valgrind"),
        ({"energy_counter": "/none"}, COMPLETE, "/none does not hold a number of microjoules", "energy_counter"),
        ({}, {**COMPLETE, "disk_free_bytes": 10**6}, "only 1 MB", "free some space"),
        ({}, {**COMPLETE, "problems": {"onnx": "ImportError: no AVX"}}, "onnx fails: ImportError: no AVX", "import"),
        ({"fingerprint": {"cores": 8}}, COMPLETE, "not the device of its card: cores: 8 → 4", "devices probe pi"),
        ({}, "hello", "not JSON", "python-of-the-board"),
        ({"npu": "ethos-u55-128", "python": "false"}, None, "Vela", "pip install ethos-u-vela=="),
    ],
)  # fmt: skip
def test_doctor_prints_each_problem_with_its_cure(
    project: Path, capsys: pytest.CaptureFixture[str], lines: dict[str, Any], description: Any, problem: str, cure: str
) -> None:
    given = dict(lines) if description is None else {"python": write_interpreter(project, description), **lines}
    printed = diagnose(project, capsys, runtimes={"onnx": None}, **given)
    problems, cures = printed[::2], printed[1::2]
    assert any(problem in one and cure in other for one, other in zip(problems, cures, strict=True)), printed


def test_doctor_prints_the_command_that_shows_why_a_device_is_unreachable(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = project / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'ssh: connect to host pi4: No route to host' >&2\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    problem, cure = diagnose(project, capsys, transport="ssh", host="pi4")
    assert "No route to host" in problem
    assert cure.strip() == "see why 'ssh pi4 true' fails"


def test_doctor_works_on_a_device_without_numpy(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bare = project / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    printed = diagnose(project, capfd, python=str(bare), runtimes={"tflite": None})
    assert {line.split()[0] for line in printed[::2]} == {"ai-edge-litert", "mlcommons-loadgen", "numpy"}
    assert all("-m pip install" in line for line in printed[1::2])


# --- emulators -----------------------------------------------------------------------------------------------------


def test_the_fingerprint_of_an_emulator_is_updated_when_it_changes(project: Path) -> None:
    description = {**DESCRIPTION, "fingerprint": {**DESCRIPTION["fingerprint"], "memory_bytes": 10**9}}
    python = write_interpreter(project, description)
    assert main.run(["devices", "add", "board", "--transport", "fake", "--python", python, "--emulated"]) == 0
    card = cards.read("board")
    assert card.emulated
    path = project / "devices/board.yaml"
    path.write_text(path.read_text() + "timeout_s: 7200\n")
    before = path.read_text()
    registration.update_fingerprint("board")
    assert path.read_text() == before
    write_interpreter(
        project, {**description, "fingerprint": {**description["fingerprint"], "memory_bytes": 2 * 10**9}}
    )
    registration.update_fingerprint("board")
    again = cards.read("board")
    assert again.fingerprint is not None
    assert (again.fingerprint.memory_bytes, again.timeout_s, again.emulated) == (2 * 10**9, 7200, True)


def test_the_card_of_a_real_device_does_not_mention_emulation(project: Path) -> None:
    assert main.run(["devices", "add", "desk", "--transport", "local"]) == 0
    assert "emulated" not in (project / "devices/desk.yaml").read_text()
