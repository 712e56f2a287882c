"""The contract of every transport, tested on a device that is this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core import plugins
from edgeproof.core.errors import DeviceError
from tests.support import boards


@pytest.fixture(params=plugins.list_names("transports"))
def device(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with boards.open_device(request.param, tmp_path, monkeypatch) as transport:
        yield transport


def python(body: str) -> list[str]:
    return [sys.executable, "-S", "-c", body]


# --- files ---------------------------------------------------------------------------------------------------------


def test_files_return_from_the_device_unchanged(device: Any, tmp_path: Path) -> None:
    given = tmp_path / "given"
    (given / "deep er").mkdir(parents=True)
    (given / "bytes").write_bytes(bytes(range(256)) * 5000)
    (given / "deep er" / "empty").write_bytes(b"")
    device.push(given, "jobs/one")
    device.pull("jobs/one", tmp_path / "back")
    names = {path.relative_to(tmp_path / "back").as_posix() for path in (tmp_path / "back").rglob("*")}
    assert names == {"bytes", "deep er", "deep er/empty"}
    assert (tmp_path / "back" / "bytes").read_bytes() == bytes(range(256)) * 5000
    device.remove("jobs/one")
    device.remove("jobs/one")
    with pytest.raises(DeviceError, match="left no jobs/one"):
        device.pull("jobs/one", tmp_path / "again")


def test_a_command_finds_a_file_under_its_name(device: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    device.push(tmp_path / "file", "store/name-by-hash")
    assert device.run(python("print(open('store/name-by-hash').read())"), 60) == (0, "content\n")


def test_a_name_that_was_sent_is_not_sent_again(device: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("first")
    device.push(tmp_path / "file", "store/name-by-hash")
    (tmp_path / "file").unlink()
    device.push(tmp_path / "file", "store/name-by-hash")


def test_a_new_connection_sends_only_files_that_the_device_lacks_or_has_damaged(device: Any, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "a").write_text("first")
    inode = python("import os; print(os.stat('store/many/a').st_ino)")
    device.push(tmp_path / "many", "store/many")
    first = device.run(inode, 60)
    device._sent.clear()  # like a new connection
    device.push(tmp_path / "many", "store/many")
    assert device.run(inode, 60) == first
    device.run(python("open('store/many/a', 'w').write('fierce')"), 60)
    device._sent.clear()
    device.push(tmp_path / "many", "store/many")
    assert device.run(python("print(open('store/many/a').read())"), 60) == (0, "first\n")


def test_a_result_is_copied_into_an_existing_directory(device: Any, tmp_path: Path) -> None:
    device.run(python("import pathlib; p = pathlib.Path('job/result'); p.mkdir(parents=True); (p / 'f').touch()"), 60)
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "mine").write_bytes(b"kept")
    device.pull("job/result", tmp_path / "back")
    assert {path.name for path in (tmp_path / "back").iterdir()} == {"f", "mine"}


# --- commands ------------------------------------------------------------------------------------------------------


def test_a_command_runs_in_the_devices_directory_and_returns_its_code_and_both_streams(
    device: Any, tmp_path: Path
) -> None:
    body = "import pathlib, sys; pathlib.Path('made').mkdir(); print('said', flush=True); print('oh', file=sys.stderr)"
    assert device.run(python(f"{body}; sys.exit(7)"), 60) == (7, "said\noh\n")
    device.pull("made", tmp_path / "made")


@pytest.mark.parametrize("word", ["; touch pwned", "$(touch pwned)", "`touch pwned`", "'\"\\ *~\t", "a\nb", "-e", "é"])
def test_no_word_of_a_command_is_interpreted_by_a_shell(device: Any, word: str) -> None:
    code, printed = device.run([*python("import sys; print(ascii(sys.argv[1:]))"), word, ""], 60)
    assert (code, printed) == (0, f"{[word, '']!a}\n")
    assert device.run(python("import os; print(os.path.exists('pwned'))"), 60) == (0, "False\n")


def test_the_standard_input_of_a_command_is_empty(device: Any) -> None:
    assert device.run(python("import sys; print(repr(sys.stdin.read()))"), 60) == (0, "''\n")


def test_a_command_ended_by_a_signal_has_a_negative_exit_code(device: Any) -> None:
    assert device.run(python("import os; os.kill(os.getpid(), 9)"), 60)[0] == -9


def test_a_missing_program_is_a_device_error_or_the_exit_code_127(device: Any) -> None:
    try:
        code, printed = device.run(["no-such-program", "x"], 60)
    except DeviceError as error:
        code, printed = 127, str(error)
    assert code == 127
    assert "no-such-program" in printed


def test_the_end_of_a_very_long_output_is_kept(device: Any) -> None:
    body = "import sys; [sys.stdout.write('x' * 2**16) for _ in range(100)]; print('end')"
    code, printed = device.run(python(body), 60)
    assert code == 0
    assert printed.endswith("xend\n")
    assert len(printed) <= 2**20


def test_a_command_beyond_its_time_limit_is_ended_with_its_children(device: Any, tmp_path: Path) -> None:
    marker = "edgeproof-" + tmp_path.name
    child = f"import time; time.sleep(60) # {marker}"
    script = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    with pytest.raises(DeviceError, match=r"ended after 2 s.*timeout_s"):
        device.run(python(script), 1.5)
    # A killed process stays in /proc until the kernel has removed it.
    until = time.monotonic() + 10
    while running := [path for path in Path("/proc").glob("[0-9]*/cmdline") if marker.encode() in _read_bytes(path)]:
        assert time.monotonic() < until, f"still running: {running}"
        time.sleep(0.05)


def test_the_hosts_environment_stays_on_the_host(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if type(device).__module__.endswith("adb"):
        pytest.skip("the tests' own adb runs its command on this machine")
    monkeypatch.setenv("SECRET_TOKEN", "host")
    assert device.run(python("import os; print('SECRET_TOKEN' in os.environ)"), 60) == (0, "False\n")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
