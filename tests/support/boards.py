"""A device for every transport on this machine: sshd on loopback, and an `adb` that runs its commands here."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core import plugins

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
FAKE_ADB = """\
#!/bin/sh
# adb -s SERIAL shell -e none -T COMMAND
[ "$2" = serial-1 ] || { echo "adb: device '$2' not found" >&2; exit 1; }
echo shell >> "$ADB_CALLS"
shift 6
exec sh -c "$*"
"""


@contextlib.contextmanager
def open_device(name: str, tmp_path: Path, patch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield a transport to this machine that works below `tmp_path`. A user's own transport must reach this machine."""
    module = plugins.load("transports", name)
    if name == "ssh":
        with start_sshd(tmp_path, patch):
            yield module.Transport(tmp_path / "board", "board")
    elif name == "adb":
        write_program(tmp_path / "bin" / "adb", FAKE_ADB, patch)
        patch.setenv("ADB_CALLS", str(tmp_path / "adb-calls"))
        patch.setattr(module, "DIRECTORY", str(tmp_path / "android"))
        yield module.Transport(tmp_path / "board", "serial-1")
    else:
        yield module.Transport(tmp_path / "device", None)


@contextlib.contextmanager
def start_sshd(tmp_path: Path, patch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """Yield an sshd on loopback that `ssh board` reaches as the current user. Its commands run below `tmp_path`."""
    if SSHD is None:
        pytest.skip("there is no sshd on this machine (Debian's package openssh-server)")
    keys, home = tmp_path / "keys", tmp_path / "home"
    keys.mkdir(mode=0o700)
    home.mkdir()
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / key)], check=True)
    port = _free_port()
    (keys / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/user.pub\nPidFile none\n"
        "UsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
        f'ForceCommand cd {home} && exec sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    known = f"[127.0.0.1]:{port} {(keys / 'host.pub').read_text()}"
    (keys / "known_hosts").write_text(known)
    (keys / "ssh_config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {keys}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {keys}/known_hosts\n"
    )
    client = shlex.quote(str(shutil.which("ssh")))
    write_program(tmp_path / "bin" / "ssh", f'#!/bin/sh\nexec {client} -F {keys}/ssh_config "$@"\n', patch)
    command = [str(Path(SSHD).resolve()), "-D", "-e", "-f", str(keys / "sshd_config")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as server:
        try:
            _wait_for(port, server)
            yield server
        finally:
            close_master()
            server.terminate()


def write_program(path: Path, text: str, patch: pytest.MonkeyPatch) -> None:
    """Write a program and put its directory first on the PATH."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    patch.setenv("PATH", str(path.parent), prepend=os.pathsep)


def close_master() -> None:
    """End the shared connection of ssh."""
    from edgeproof.transports import ssh

    control = f"ControlPath={ssh._make_socket_directory()}/%C"
    subprocess.run(["ssh", "-o", control, "-O", "exit", "board"], capture_output=True, check=False, timeout=20)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while True:
        if server.poll() is not None:
            assert server.stderr is not None
            pytest.fail(f"sshd did not start: {server.stderr.read().decode()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < until
        time.sleep(0.02)
