"""The local transport: files arrive whole, and commands end with all their children."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeproof.core.errors import DeviceError
from edgeproof.transports.local import Transport


@pytest.fixture
def device(tmp_path: Path) -> Transport:
    return Transport(tmp_path / "device")


@pytest.fixture
def root(device: Transport, tmp_path: Path) -> Path:
    return tmp_path / "device"


def python(body: str) -> list[str]:
    return [sys.executable, "-S", "-c", body]


# --- files ---------------------------------------------------------------------------------------------------------


def test_files_and_directories_arrive_under_their_names(device: Transport, root: Path, tmp_path: Path) -> None:
    (tmp_path / "many" / "deep").mkdir(parents=True)
    (tmp_path / "many" / "deep" / "file").write_bytes(b"\x00\xff")
    device.push(tmp_path / "many", "store/many")
    device.push(tmp_path / "many" / "deep" / "file", "store/one")
    assert (root / "store/many/deep/file").read_bytes() == b"\x00\xff"
    assert (root / "store/one").read_bytes() == b"\x00\xff"


def test_sessions_that_send_the_same_files_at_once_do_not_disturb_each_other(root: Path, tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    for name in "abc":
        (tmp_path / "artifact" / name).write_bytes(name.encode() * 100_000)

    def send(_: int) -> None:
        for number in range(10):
            Transport(root).push(tmp_path / "artifact", f"store/artifact{number % 2}")

    with ThreadPoolExecutor(4) as executor:
        list(executor.map(send, range(4)))
    assert sorted(path.name for path in (root / "store").iterdir()) == ["artifact0", "artifact1"]
    assert (root / "store/artifact0/b").read_bytes() == b"b" * 100_000


def test_a_push_after_an_interrupted_one_sends_the_whole_directory(
    device: Transport, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    (tmp_path / "many").mkdir()
    for name in ("a", "b"):
        (tmp_path / "many" / name).write_bytes(b"content")

    def interrupt(source: Path, target: Path, **_: object) -> None:
        target.mkdir()
        (target / "a").write_bytes(b"con")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            device.push(tmp_path / "many", "store/many")
    assert not (root / "store/many").exists()
    device.push(tmp_path / "many", "store/many")
    assert {path.name: path.read_bytes() for path in (root / "store/many").iterdir()} == {
        "a": b"content",
        "b": b"content",
    }


def test_a_name_that_was_sent_is_not_sent_again(device: Transport, root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"first")
    device.push(tmp_path / "file", "file")
    (tmp_path / "file").write_bytes(b"second")
    device.push(tmp_path / "file", "file")
    assert (root / "file").read_bytes() == b"first"


def test_a_result_is_copied_into_an_existing_directory(device: Transport, root: Path, tmp_path: Path) -> None:
    (root / "job/result").mkdir(parents=True)
    (root / "job/result/file").write_bytes(b"new")
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "mine").write_bytes(b"kept")
    device.pull("job/result", tmp_path / "back")
    assert {path.name for path in (tmp_path / "back").iterdir()} == {"file", "mine"}


def test_a_missing_result_is_a_device_error(device: Transport, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="left no job/result"):
        device.pull("job/result", tmp_path / "back")


def test_a_directory_is_removed_with_its_content_and_a_missing_one_is_ignored(device: Transport, root: Path) -> None:
    (root / "jobs/1/result").mkdir(parents=True)
    device.remove("jobs/1")
    device.remove("jobs/1")
    assert list((root / "jobs").iterdir()) == []


# --- commands ------------------------------------------------------------------------------------------------------


def test_a_command_runs_in_the_devices_directory_and_returns_its_code_and_both_streams(
    device: Transport, root: Path
) -> None:
    body = "import os, sys; print(os.getcwd(), flush=True); print('oh', file=sys.stderr); sys.exit(3)"
    assert device.run(python(body), 60) == (3, f"{root}\noh\n")


def test_a_command_sees_only_the_needed_variables_of_the_hosts_environment(
    device: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/host")
    monkeypatch.setenv("SECRET_TOKEN", "host")
    code, printed = device.run(python("import os; print(sorted(os.environ))"), 60)
    assert code == 0
    assert set(eval(printed)) <= {"PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "LC_CTYPE"}


def test_the_standard_input_of_a_command_is_empty(device: Transport) -> None:
    assert device.run(python("import sys; print(repr(sys.stdin.read()))"), 60) == (0, "''\n")


def test_output_that_is_not_text_is_decoded_with_replacements(device: Transport) -> None:
    code, printed = device.run(python(r"import os; os.write(1, b'a\xffb')"), 60)
    assert (code, printed) == (0, "a\ufffdb")


def test_a_command_ended_by_a_signal_has_a_negative_exit_code(device: Transport) -> None:
    code, _ = device.run(python("import os; os.kill(os.getpid(), 11)"), 60)
    assert code == -11


def test_a_command_beyond_its_time_limit_is_ended_with_its_children(device: Transport, tmp_path: Path) -> None:
    # Command and child hold a pipe open for as long as they live: reading to its end waits for both to die.
    pipe = tmp_path / "alive"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    child = "import os, signal; os.write(3, b'child'); signal.pause()"
    body = (
        "import os, signal, subprocess, sys\n"
        f"pipe = os.open({str(pipe)!r}, os.O_WRONLY); os.dup2(pipe, 3, inheritable=True)\n"
        f"subprocess.Popen([sys.executable, '-S', '-c', {child!r}], pass_fds=[3])\n"
        "signal.pause()\n"
    )
    with pytest.raises(DeviceError, match=r"ended after 1 s.*timeout_s"):
        device.run(python(body), 1)
    os.set_blocking(reader, True)
    with os.fdopen(reader, "rb") as alive:
        assert alive.read() == b"child"


def test_a_command_whose_child_holds_its_output_is_ended_too(device: Transport) -> None:
    body = "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', 'import signal; signal.pause()'])"
    with pytest.raises(DeviceError, match="ended after"):
        device.run(python(body), 0.3)
