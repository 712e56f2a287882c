"""A transport through a shell: /bin/sh itself, and programs that behave like a broken or hostile device."""

from __future__ import annotations

import io
import itertools
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from edgeproof.connection import shell as connection_shell
from edgeproof.connection import transfer
from edgeproof.connection.shell import ShellTransport
from edgeproof.core.errors import DeviceError, DeviceUnreachableError
from edgeproof.transports import ssh


def make_shell_device(root: Path) -> ShellTransport:
    return ShellTransport(["sh", "-c"], str(root / "board"))


def make_device(tmp_path: Path, body: str) -> ShellTransport:
    """Return a device behind a Python program. Its last argument is the line for the shell."""
    (tmp_path / "reach.py").write_text(f"import re, subprocess, sys, time\nline = sys.argv[-1]\n{body}")
    return ShellTransport([sys.executable, "-S", str(tmp_path / "reach.py")], str(tmp_path / "board"))


RUN_LINE = "sys.exit(subprocess.run(['sh', '-c', line], stdin=sys.stdin, start_new_session=True).returncode)\n"


def push_file(device: ShellTransport, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    device.push(tmp_path / "file", "store/file")


# --- links that break ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('Host key verification failed.'); sys.exit(255)", "exit code 255.*Host key verification failed"),
        ("sys.exit(0)", "no output"),
        ("print('\\n' + 32 * 'a' + ' 0')", "lost"),
        ("subprocess.run(['sh', '-c', line.replace('printf', ':')])", "lost"),
    ],
    ids=["refused", "silent", "another mark", "lost before the exit code"],
)
def test_output_without_its_mark_means_a_lost_link(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(DeviceUnreachableError, match=message):
        make_device(tmp_path, body + "\n").run(["true"], 60)


def test_the_error_names_a_program_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no-such-adb can't be run: No such file"):
        ShellTransport(["no-such-adb"], "x").run(["true"], 60)


def test_a_hanging_link_is_ended_some_time_after_the_commands_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_shell, "LINK_S", 0.3)
    started = time.monotonic()
    with pytest.raises(DeviceError, match="ended after 1 s"):
        make_device(tmp_path, "time.sleep(60)\n").run(["true"], 1)
    assert time.monotonic() - started < 20


def test_background_processes_of_a_finished_command_are_ended(tmp_path: Path) -> None:
    started = time.monotonic()
    code, printed = make_shell_device(tmp_path).run(["sh", "-c", "sleep 60 & echo started"], 50)
    assert (code, printed) == (0, "started\n")
    assert time.monotonic() - started < 20


# --- files that do not arrive --------------------------------------------------------------------------------------


def test_a_file_that_is_damaged_on_its_way_is_not_put_in_place(tmp_path: Path) -> None:
    damaging = "line = line.replace('tar -xf -', 'tar -xf - && echo x >> file')\n"
    with pytest.raises(DeviceError, match=r"store/file did not arrive.*did NOT match"):
        push_file(make_device(tmp_path, damaging + RUN_LINE), tmp_path)
    assert list((tmp_path / "board/store").iterdir()) == []


def test_a_full_disk_is_an_error_and_leaves_no_partial_file(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(10**6))
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
    with pytest.raises(DeviceError, match="store/large did not arrive"):
        make_device(tmp_path, full + RUN_LINE).push(tmp_path / "large", "store/large")
    assert list((tmp_path / "board/store").iterdir()) == []


def test_a_link_lost_during_a_transfer_leaves_no_partial_file(tmp_path: Path) -> None:
    cut = "sys.stdin.buffer.raw.read(600); sys.exit(255)\n"
    with pytest.raises(DeviceUnreachableError):
        push_file(make_device(tmp_path, cut), tmp_path)
    assert not (tmp_path / "board/store/file").exists()
    push_file(make_shell_device(tmp_path), tmp_path)
    assert (tmp_path / "board/store/file").read_bytes() == b"content"


def test_a_missing_result_and_an_unreachable_device_are_different_errors(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="left no jobs/1/result"):
        make_shell_device(tmp_path).pull("jobs/1/result", tmp_path / "back")
    with pytest.raises(DeviceUnreachableError):
        make_device(tmp_path, "sys.exit(255)\n").pull("jobs/1/result", tmp_path / "back")


def test_removing_from_an_unreachable_device_is_not_an_error(tmp_path: Path) -> None:
    make_device(tmp_path, "sys.exit(255)\n").remove("jobs/1")


# --- hostile devices -----------------------------------------------------------------------------------------------


def archive(*members: tuple[str, bytes, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive_file:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "/etc/passwd"
            archive_file.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return stream


SHA = {"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
EXPECTED = {"a": SHA[""]}


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (archive(("../a", tarfile.REGTYPE, b"")), "lies outside"),
        (archive(("/tmp/a", tarfile.REGTYPE, b"")), "lies outside"),
        (archive(("a", tarfile.SYMTYPE, b"")), "not listed as a file"),
        (archive(("a", tarfile.LNKTYPE, b"")), "not listed as a file"),
        (archive(("a", tarfile.CHRTYPE, b"")), "not listed as a file"),
        (archive(("b", tarfile.REGTYPE, b"")), "not listed as a file"),
        (archive(("a", tarfile.REGTYPE, b""), ("a", tarfile.REGTYPE, b"")), "not listed as a file"),
        (archive(("a", tarfile.REGTYPE, b"x")), "a was damaged"),
        (archive(), "listed a but did not send it"),
        (io.BytesIO(b"no archive at all" * 100), "damaged or cut short"),
        (io.BytesIO(archive(("a", tarfile.REGTYPE, bytes(2000))).read()[:1000]), "damaged or cut short"),
        (io.BytesIO(), "damaged or cut short|listed a but did not send it"),
    ],
)
def test_an_archive_is_refused_unless_it_holds_exactly_the_listed_plain_files(
    tmp_path: Path, stream: io.BytesIO, message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        transfer.unpack(stream, EXPECTED, tmp_path / "out")
    assert {path.name for path in tmp_path.rglob("*")} <= {"out", "a"}


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ("hello", "expected a sha256 and a name"),
        (f"{SHA['']}  ./../../etc/cron.d/x", "lies outside"),
        (f"\\{SHA['']}  ./a\\nb", "expected a sha256 and a name"),
        ("\n".join(f"{SHA['']}  ./{n}" for n in range(transfer.MAX_FILES + 1)), "at most 1000"),
    ],
)
def test_an_invalid_list_of_files_is_refused(listing: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        transfer.parse_checksums(listing)


def test_a_device_that_sends_endlessly_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MAX_BYTES", 10**6)
    make_shell_device(tmp_path).run(["sh", "-c", "mkdir result; echo x > result/file"], 60)
    endless = "line = line.replace('tar -cf - .', 'cat /dev/zero')\n"
    started = time.monotonic()
    with pytest.raises(DeviceError, match="more than 1,000,000 bytes"):
        make_device(tmp_path, endless + RUN_LINE).pull("result", tmp_path / "back")
    assert time.monotonic() - started < 20


# --- ssh -----------------------------------------------------------------------------------------------------------


def test_ssh_checks_host_keys_and_neither_asks_nor_forwards_anything(tmp_path: Path) -> None:
    argv = ssh.Transport(tmp_path / "pi", "board")._command
    options = dict(word.split("=", 1) for flag, word in itertools.pairwise(argv) if flag == "-o")
    assert options["StrictHostKeyChecking"] == options["BatchMode"] == "yes"
    assert options["ForwardAgent"] == options["ForwardX11"] == options["PermitLocalCommand"] == "no"
    assert options["ClearAllForwardings"] == "yes"
    assert argv[-2:] == ["--", "board"]


@pytest.mark.skipif(shutil.which("ssh") is None, reason="OpenSSH's client is not installed")
def test_a_devices_own_ssh_configuration_replaces_the_users(tmp_path: Path) -> None:
    root = tmp_path / "devices" / "board"
    assert "-F" not in ssh.Transport(root, "board")._command
    root.mkdir(parents=True)
    (root / "ssh_config").write_text("Host board\n    HostName 127.0.0.1\n    StrictHostKeyChecking no\n")
    argv = ssh.Transport(root, "board")._command
    assert argv[:3] == ["ssh", "-F", str(root / "ssh_config")]
    # Options on the command line override the file, so no file can switch off the check of host keys.
    done = subprocess.run([*argv[:-2], "-G", *argv[-2:]], capture_output=True, text=True, check=True)
    options = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert (options["hostname"], options["stricthostkeychecking"]) == ("127.0.0.1", "true")
