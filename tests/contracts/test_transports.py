"""What every transport promises, on a device that is this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from edgeproof.core import plugins
from edgeproof.core.errors import DeviceError


@pytest.mark.parametrize("name", plugins.names("transports"))
def test_files_go_there_and_come_back_unchanged(name: str, tmp_path: Path) -> None:
    device = plugins.load("transports", name).Transport(tmp_path / "device")
    given = tmp_path / "given"
    given.mkdir()
    (given / "bytes").write_bytes(bytes(range(256)))
    device.push(given, "jobs/one")
    device.pull("jobs/one", tmp_path / "back")
    assert (tmp_path / "back" / "bytes").read_bytes() == bytes(range(256))
    device.remove("jobs/one")
    with pytest.raises(DeviceError, match="left no"):
        device.pull("jobs/one", tmp_path / "again")


@pytest.mark.parametrize("name", plugins.names("transports"))
def test_a_command_runs_in_the_devices_directory_and_its_code_and_output_come_back(name: str, tmp_path: Path) -> None:
    device = plugins.load("transports", name).Transport(tmp_path / "device")
    script = "import pathlib, sys; pathlib.Path('made').mkdir(); print('said'); sys.exit(7)"
    code, printed = device.run([sys.executable, "-c", script], 60)
    assert (code, printed.strip()) == (7, "said")
    device.pull("made", tmp_path / "made")


@pytest.mark.parametrize("name", plugins.names("transports"))
def test_a_command_that_outlives_its_time_is_ended_with_its_children(name: str, tmp_path: Path) -> None:
    device = plugins.load("transports", name).Transport(tmp_path / "device")
    marker = "edgeproof-" + tmp_path.name
    child = f"import time; time.sleep(60) # {marker}"
    script = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    with pytest.raises(DeviceError, match="timeout_s"):
        device.run([sys.executable, "-c", script], 1.5)
    # A killed process is there until the kernel has cleared it away.
    until = time.monotonic() + 10
    while running := [path for path in Path("/proc").glob("[0-9]*/cmdline") if marker.encode() in _content(path)]:
        assert time.monotonic() < until, f"still running: {running}"
        time.sleep(0.05)


@pytest.mark.parametrize("name", plugins.names("transports"))
def test_what_the_device_has_is_not_sent_again(name: str, tmp_path: Path) -> None:
    device = plugins.load("transports", name).Transport(tmp_path / "device")
    (tmp_path / "file").write_text("first")
    device.push(tmp_path / "file", "store/name-by-hash")
    (tmp_path / "file").unlink()
    device.push(tmp_path / "file", "store/name-by-hash")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
