"""Refused connections: what OpenSSH and adb print, and the message that a user gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeproof.connection.shell import ShellTransport
from edgeproof.core.errors import DeviceRefusedError, DeviceUnreachableError
from edgeproof.transports import adb, ssh

# Messages of OpenSSH 9.2.
CHANGED_KEY = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Someone could be eavesdropping on you right now (man-in-the-middle attack)!
It is also possible that a host key has just been changed.
The fingerprint for the ED25519 key sent by the remote host is
SHA256:uNiVztksCsDhcc0u9e8BgrJXVGLXtfsFhC8yXJGnZ2I.
Please contact your system administrator.
Add correct host key in /home/user/.ssh/known_hosts to get rid of this message.
Offending ED25519 key in /home/user/.ssh/known_hosts:7
  remove with:
  ssh-keygen -f "/home/user/.ssh/known_hosts" -R "192.168.1.9"
Host key for 192.168.1.9 has changed and you have requested strict checking.
Host key verification failed.
"""
UNKNOWN_KEY = """\
No ED25519 host key is known for 192.168.1.9 and you have requested strict checking.
Host key verification failed.
"""
REFUSED_LOGIN = "user@192.168.1.9: Permission denied (publickey,password).\n"
WRONG_OPTION = """\
/home/user/.ssh/config: line 4: Bad configuration option: hostnme
/home/user/.ssh/config: terminating, 1 bad configuration options
"""
OPEN_CONFIGURATION = "Bad owner or permissions on /home/user/.ssh/config\n"
# Links that another attempt may find restored.
LOST_LINKS = (
    "ssh: connect to host 192.168.1.9 port 22: Connection refused\n",
    "ssh: connect to host 192.168.1.9 port 22: No route to host\n",
    "ssh: Could not resolve hostname pi4: Temporary failure in name resolution\n",
    "kex_exchange_identification: Connection closed by remote host\n",
    "client_loop: send disconnect: Broken pipe\n",
    "mkdir: cannot create directory '.edgeproof': Permission denied\n",
)
UNAUTHORIZED = """\
error: device unauthorized.
This adb server's $ADB_VENDOR_KEYS is not set
Try 'adb kill-server' if that seems wrong.
Otherwise check for a confirmation dialog on your device.
"""

MakeDevice = Callable[[str, int], ShellTransport]


@pytest.fixture
def make_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeDevice:
    """Return a function that makes the device 'pi4' behind an `ssh` that prints a text and ends with an exit code."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")

    def make(text: str, code: int) -> ShellTransport:
        (tmp_path / "text").write_text(text)
        (tmp_path / "bin").mkdir(exist_ok=True)
        for program in ("ssh", "adb"):
            path = tmp_path / "bin" / program
            path.write_text(f"#!/bin/sh\necho call >> {tmp_path}/calls\ncat {tmp_path}/text >&2\nexit {code}\n")
            path.chmod(0o755)
        return ssh.Transport(tmp_path / "devices" / "pi", "pi4")

    return make


@pytest.mark.parametrize(
    ("text", "start", "cure"),
    [
        (CHANGED_KEY, "the host key of pi4 changed. It is SHA256:uNiVztksCsDhcc0u9e8BgrJXVGLXtfsFhC8yXJGnZ2I now.",
         "remove the old key (/home/user/.ssh/known_hosts:7) from known_hosts, and log in once by hand: ssh pi4"),
        (UNKNOWN_KEY, "the host key of pi4 is unknown.", "accept it: ssh pi4"),
        (REFUSED_LOGIN, "pi4 refused the login: Permission denied (publickey,password).", "try: ssh pi4 true"),
        (WRONG_OPTION, "ssh refuses its configuration: /home/user/.ssh/config: line 4: Bad configuration option",
         "try: ssh pi4 true"),
        (OPEN_CONFIGURATION, "ssh refuses its configuration: Bad owner or permissions on", "try: ssh pi4 true"),
    ],
    ids=["changed key", "unknown key", "refused login", "wrong option", "open configuration"],
)  # fmt: skip
def test_a_refusal_begins_with_what_happened_and_ends_with_what_to_type(
    make_device: MakeDevice, tmp_path: Path, text: str, start: str, cure: str
) -> None:
    device = make_device(text, 255)
    with pytest.raises(DeviceRefusedError) as refused:
        device.run(["true"], 10)
    assert str(refused.value).startswith(start)
    assert str(refused.value).endswith(cure)
    assert "\n" not in str(refused.value)
    assert (tmp_path / "calls").read_text() == "call\n"  # it is not tried again


@pytest.mark.parametrize("text", LOST_LINKS)
def test_a_lost_link_is_not_a_refusal(make_device: MakeDevice, text: str) -> None:
    with pytest.raises(DeviceUnreachableError):
        make_device(text, 255).run(["true"], 10)


def test_a_refusal_that_only_the_devices_command_printed_is_a_lost_link(make_device: MakeDevice) -> None:
    with pytest.raises(DeviceUnreachableError):
        make_device(CHANGED_KEY, 1).run(["true"], 10)


def test_the_command_to_type_names_the_devices_own_configuration(make_device: MakeDevice, tmp_path: Path) -> None:
    make_device(REFUSED_LOGIN, 255)
    root = tmp_path / "devices" / "board"
    root.mkdir(parents=True)
    (root / "ssh_config").write_text("Host board\n")
    with pytest.raises(DeviceRefusedError, match=f"ssh -F {root}/ssh_config board true$"):
        ssh.Transport(root, "board").run(["true"], 10)


def test_a_phone_that_has_not_accepted_the_computer_refuses_the_connection(
    make_device: MakeDevice, tmp_path: Path
) -> None:
    make_device(UNAUTHORIZED, 1)
    with pytest.raises(DeviceRefusedError, match=r"^serial-1 refused the connection.*adb -s serial-1 shell true$"):
        adb.Transport(tmp_path / "phone", "serial-1").run(["true"], 10)
    make_device("error: device 'serial-1' not found\n", 1)
    with pytest.raises(DeviceUnreachableError):
        adb.Transport(tmp_path / "phone", "serial-1").run(["true"], 10)
