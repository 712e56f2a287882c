"""The ssh transport: it trusts no unknown host, survives lost links and uses one connection."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproof.core.errors import DeviceRefusedError, DeviceUnreachableError
from edgeproof.transports.ssh import Transport
from tests.support import boards


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    with boards.start_sshd(tmp_path, monkeypatch) as process:
        yield process


def test_a_host_with_an_unknown_key_is_refused(server: object, tmp_path: Path) -> None:
    known = tmp_path / "keys" / "known_hosts"
    known.write_text("")
    with pytest.raises(DeviceRefusedError, match=r"^the host key of board is unknown"):
        Transport(tmp_path / "board", "board").run(["true"], 10)
    assert known.read_text() == ""


def test_a_host_with_another_key_is_refused(server: object, tmp_path: Path) -> None:
    known = tmp_path / "keys" / "known_hosts"
    address = known.read_text().split()[0]
    known.write_text(f"{address} {(tmp_path / 'keys' / 'user.pub').read_text()}")
    shown = subprocess.run(["ssh-keygen", "-lf", tmp_path / "keys" / "host.pub"], capture_output=True, check=True)
    fingerprint = shown.stdout.decode().split()[1]
    with pytest.raises(DeviceRefusedError) as refused:
        Transport(tmp_path / "board", "board").run(["true"], 10)
    assert str(refused.value).startswith(f"the host key of board changed. It is {fingerprint} now.")
    assert f"({known}:1)" in str(refused.value)


def test_a_login_that_needs_a_password_fails_without_asking(server: object, tmp_path: Path) -> None:
    (tmp_path / "keys" / "user.pub").write_text("")
    with pytest.raises(DeviceRefusedError, match=r"^board refused the login: Permission denied \(publickey\)"):
        Transport(tmp_path / "board", "board").run(["true"], 10)


def test_a_wrong_option_in_the_configuration_is_refused(server: object, tmp_path: Path) -> None:
    configuration = tmp_path / "keys" / "ssh_config"
    configuration.write_text(f"{configuration.read_text()}  NoSuchOption yes\n")
    with pytest.raises(DeviceRefusedError, match=r"^ssh refuses its configuration: .*nosuchoption"):
        Transport(tmp_path / "board", "board").run(["true"], 10)


def test_an_alias_that_looks_like_an_option_is_taken_as_a_host(server: object, tmp_path: Path) -> None:
    with pytest.raises(DeviceUnreachableError):
        Transport(tmp_path / "board", f"-oProxyCommand=touch {tmp_path}/pwned").run(["true"], 10)
    assert not (tmp_path / "pwned").exists()


def test_all_commands_share_one_connection(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for _ in range(2):
        device = Transport(tmp_path / "board", "board")
        device.push(tmp_path / "file", "file")
        device.run(["true"], 10)
    boards.close_master()
    server.terminate()
    assert server.stderr is not None
    assert len(re.findall("Accepted publickey", server.stderr.read().decode())) == 1


def test_the_device_works_again_after_its_server_process_died(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    device = Transport(tmp_path / "board", "board")
    # The command kills the process that serves its own connection: its parent.
    with pytest.raises(DeviceUnreachableError, match="lost"):
        device.run(["sh", "-c", "kill -9 $(ps -o ppid= -p $(ps -o ppid= -p $$)); sleep 5"], 60)
    assert device.run(["echo", "back"], 60) == (0, "back\n")
