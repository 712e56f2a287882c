"""edgeproof devices: cards listed, shown, written from what a device says, compared with it, and examined."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeproof.cli import devices as cli_devices
from edgeproof.cli import main
from edgeproof.config import cards
from edgeproof.core.errors import ConfigError, DeviceError
from edgeproof.devices import doctor
from tests.unit.conftest import ROOT

TELLS = {
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
    shutil.copyfile(ROOT / "requirements.lock", tmp_path / "requirements.lock")
    (tmp_path / "devices").mkdir()
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def card(project: Path, name: str, **lines: Any) -> None:
    (project / "devices" / f"{name}.yaml").write_text(yaml.safe_dump({"transport": "local", "threads": 1, **lines}))


def board(project: Path, told: Any, code: int = 0) -> str:
    """An interpreter that describes its device as `told`, and is Python in all else."""
    path = project / "python-of-the-board"
    (project / "told").write_text(told if isinstance(told, str) else json.dumps(told))
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *--describe*) cat {project}/told; exit {code};; esac\nexec {sys.executable} "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


def test_cards_are_listed_with_what_tells_them_apart(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card(project, "desk", tags=["here", "fast"])
    card(project, "pi", transport="ssh", host="pi4", architecture="aarch64", threads=4)
    assert main.run(["devices", "list"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "transport", "host", "architecture", "threads", "tags"]
    assert [line.split() for line in lines] == [
        ["desk", "local", "–", "–", "1", "here,fast"],
        ["pi", "ssh", "pi4", "aarch64", "4", "–"],
    ]
    assert main.run(["devices", "list", "--tag", "fast"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["name", "desk"]


def test_a_card_is_shown_with_its_defaults(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card(project, "desk")
    assert main.run(["devices", "show", "desk"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == cards.card("desk").model_dump(mode="json")


# --- add and probe -------------------------------------------------------------------------------------------------


def test_this_machine_is_added_as_it_says_it_is(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["devices", "add", "desk", "--transport", "local", "--tags", "here", "--threads", "2"]) == 0
    found = cards.card("desk")
    assert (found.architecture, found.threads, found.tags) == (platform.machine(), 2, ["here"])
    assert found.fingerprint is not None
    assert found.fingerprint.kernel == platform.release()
    assert found.fingerprint.python == platform.python_version()
    assert set(found.runtimes or {}) == {"onnx", "openvino", "tflite"}
    assert main.run(["devices", "probe", "desk"]) == 0
    assert "desk is the device of its card" in capsys.readouterr().out


def test_what_changed_since_is_told_with_what_the_card_would_hold(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card(project, "desk", fingerprint={"architecture": platform.machine(), "kernel": "2.4.0"})
    assert main.run(["devices", "probe", "desk"]) == 1
    changed, text, rest = capsys.readouterr().out.split("\n", 2)
    assert changed == f"changed: kernel: 2.4.0 → {platform.release()}"
    assert text == "devices/desk.yaml would hold:"
    card(project, "desk", **yaml.safe_load(rest))
    assert main.run(["devices", "probe", "desk"]) == 0


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["desk", "--transport", "locl"], "Did you mean 'local'?"),
        (["Desk", "--transport", "local"], "can't be called 'Desk'"),
        (["../desk", "--transport", "local"], "can't be called"),
        (["pi"], "transport 'ssh' needs 'host'"),
        (["pi", "--host=-oProxyCommand=x"], "host"),
        (["desk", "--transport", "local", "--threads", "0"], "threads"),
        (["there", "--transport", "local"], "there already"),
    ],
)
def test_a_device_that_cannot_be_added_is_refused_and_no_card_is_written(
    project: Path, argv: list[str], told: str
) -> None:
    card(project, "there")
    with pytest.raises(ConfigError) as caught:
        main.run(["devices", "add", *argv])
    assert told in str(caught.value)
    assert [path.name for path in project.rglob("*.yaml") if "conf" not in path.parts] == ["there.yaml"]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("", "not JSON"),
        ("hello", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("{}", "does not fit: fingerprint"),
        ({**TELLS, "fingerprint": {"cores": "four"}}, "does not fit: cores"),
        ({**TELLS, "disk_free_bytes": -1}, "disk_free_bytes"),
    ],
)
def test_a_device_that_lies_about_itself_is_refused_and_no_card_is_written(project: Path, told: Any, why: str) -> None:
    argv = ["devices", "add", "pi", "--transport", "local", "--python", board(project, told)]
    with pytest.raises(DeviceError, match=why):
        main.run(argv)
    assert list((project / "devices").iterdir()) == []


# --- doctor --------------------------------------------------------------------------------------------------------


def examined(project: Path, capsys: pytest.CaptureFixture[str], **lines: Any) -> list[str]:
    card(project, "pi", **lines)
    code = main.run(["devices", "doctor", "pi"])
    told = capsys.readouterr().out.splitlines()
    assert code == (0 if "has all it needs" in told[0] else 1)
    return told


def test_a_device_that_lacks_nothing_is_told_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert examined(project, capsys) == ["pi has all it needs for onnx, openvino, tflite"]


def test_missing_packages_come_with_the_command_that_installs_them(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = board(project, TELLS)
    told = examined(project, capsys, python=python, runtimes={"onnx": None})
    pairs = dict(zip(told[::2], map(str.strip, told[1::2]), strict=True))
    text = (ROOT / "requirements.lock").read_text().replace("_", "-")
    lock = dict(line.split("==") for line in text.split() if "==" in line)
    onnx, loadgen = lock["onnxruntime"], lock["mlcommons-loadgen"]
    assert pairs["onnxruntime is not installed"] == f"{python} -m pip install onnxruntime=={onnx}"
    # There is no wheel of LoadGen for aarch64: it is built from its source.
    assert pairs["mlcommons-loadgen is not installed"] == (
        "apt-get install g++ python3-dev && "
        f"{python} -m pip install --no-binary mlcommons-loadgen mlcommons-loadgen=={loadgen}"
    )
    assert pairs[f"numpy is 1.0, this study measures {lock['numpy']}"].endswith(f"numpy=={lock['numpy']}")


def test_where_there_is_a_wheel_of_loadgen_it_is_taken() -> None:
    assert doctor.install("python3", "mlcommons-loadgen", "6.0", "x86_64") == (
        "python3 -m pip install mlcommons-loadgen==6.0"
    )


WHOLE = {**TELLS, "versions": {}}


@pytest.mark.parametrize(
    ("lines", "told", "problem", "cure"),
    [
        ({"python": "/nowhere/python"}, None, "/nowhere/python", "apt-get install python3 python3-venv"),
        ({"python": "false"}, None, "'false' is no Python 3.11 or newer", "apt-get install python3"),
        ({"cores": [9]}, WHOLE, "it has no processor 9", "'cores'"),
        ({"architecture": "x86_64"}, WHOLE, "its architecture is aarch64, the card says x86_64", "card"),
        ({"instructions": "callgrind"}, WHOLE, "valgrind is missing", "apt-get install valgrind"),
        ({"energy_counter": "/none"}, WHOLE, "/none tells no energy", "energy_counter"),
        ({}, {**WHOLE, "disk_free_bytes": 10**6}, "only 1 MB", "free some space"),
        ({}, {**WHOLE, "problems": {"onnx": "ImportError: no AVX"}}, "onnx fails: ImportError: no AVX", "import"),
        ({"fingerprint": {"cores": 8}}, WHOLE, "not the device of its card: cores: 8 → 4", "devices probe pi"),
        ({}, "hello", "not JSON", "python-of-the-board"),
        ({"npu": "ethos-u55-128", "python": "false"}, None, "Vela", "pip install ethos-u-vela=="),
    ],
)  # fmt: skip
def test_each_lack_is_told_with_its_cure(
    project: Path, capsys: pytest.CaptureFixture[str], lines: dict[str, Any], told: Any, problem: str, cure: str
) -> None:
    given = dict(lines) if told is None else {"python": board(project, told), **lines}
    found = examined(project, capsys, runtimes={"onnx": None}, **given)
    problems, cures = found[::2], found[1::2]
    assert any(problem in one and cure in other for one, other in zip(problems, cures, strict=True)), found


def test_a_device_that_cannot_be_reached_is_told_with_the_command_that_shows_why(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = project / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'ssh: connect to host pi4: No route to host' >&2\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    problem, cure = examined(project, capsys, transport="ssh", host="pi4")
    assert "No route to host" in problem
    assert cure.strip() == "see why 'ssh pi4 true' fails"


def test_the_runner_describes_a_device_that_lacks_even_numpy(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bare = project / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    told = examined(project, capfd, python=str(bare), runtimes={"tflite": None})
    assert {line.split()[0] for line in told[::2]} == {"ai-edge-litert", "mlcommons-loadgen", "numpy"}
    assert all("-m pip install" in line for line in told[1::2])


# --- emulators -----------------------------------------------------------------------------------------------------


def test_an_emulator_is_registered_as_one_and_its_fingerprint_renewed_when_it_is_built_anew(project: Path) -> None:
    told = {**TELLS, "fingerprint": {**TELLS["fingerprint"], "memory_bytes": 10**9}}
    python = board(project, told)
    assert main.run(["devices", "add", "board", "--transport", "fake", "--python", python, "--emulated"]) == 0
    card = cards.card("board")
    assert card.emulated
    path = project / "devices/board.yaml"
    path.write_text(path.read_text() + "timeout_s: 7200\n")
    before = path.read_text()
    cli_devices.renew("board")
    assert path.read_text() == before
    board(project, {**told, "fingerprint": {**told["fingerprint"], "memory_bytes": 2 * 10**9}})
    cli_devices.renew("board")
    again = cards.card("board")
    assert again.fingerprint is not None
    assert (again.fingerprint.memory_bytes, again.timeout_s, again.emulated) == (2 * 10**9, 7200, True)


def test_a_device_that_is_no_emulator_says_nothing_of_it(project: Path) -> None:
    assert main.run(["devices", "add", "desk", "--transport", "local"]) == 0
    assert "emulated" not in (project / "devices/desk.yaml").read_text()
