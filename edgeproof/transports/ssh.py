"""A board that ssh reaches: the system's OpenSSH with the user's ~/.ssh/config, and one connection for all commands.

Host keys are always checked, passwords are never asked for, and neither agents nor ports are forwarded. Addresses,
users and keys stay in ~/.ssh/config, and a card holds only the alias. If the device's directory
(.edgeproof/devices/<name>) holds a file ssh_config, that file replaces ~/.ssh/config.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgeproof.connection.shell import ShellTransport
from edgeproof.core.errors import DeviceError

CONFIG = "ssh_config"
HOST = "an alias of ~/.ssh/config"
PYTHON = "python3"
TRY = "ssh {host} true"
OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "RequestTTY": "no",
    "LogLevel": "ERROR",
    "ConnectTimeout": "15",
    # A lost link is detected after 15 s.
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ControlMaster": "auto",
    "ControlPersist": "60",
}


class Transport(ShellTransport):
    """The transport to a host of the user's ssh configuration. It works below ~/.edgeproof on the host."""

    def __init__(self, root: Path, host: str | None = None) -> None:
        options = {**OPTIONS, "ControlPath": f"{_make_socket_directory()}/%C"}
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        config = root / CONFIG
        config_option = ["-F", str(config)] if config.is_file() else []
        super().__init__(["ssh", *config_option, *words, "--", str(host)], f".edgeproof/{root.name}")


def _make_socket_directory() -> Path:
    """Make a directory that only the user can read, with a path that is short enough for a socket."""
    user = os.getuid()
    directory = Path(tempfile.gettempdir(), f"edgeproof-ssh-{user}")
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if directory.is_symlink() or status.st_uid != user or status.st_mode & 0o077:
        raise DeviceError(f"{directory} is open to other users, so connections in it are not safe. Remove it.")
    return directory
