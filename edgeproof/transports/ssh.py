"""A board behind ssh: the system's OpenSSH with the user's own ~/.ssh/config, one connection for all commands.

Host keys are always checked, passwords never asked for, agents and ports not forwarded. Addresses, users and keys stay
in ~/.ssh/config: a card names the alias alone. A device whose directory (.edgeproof/devices/<name>) holds an ssh_config
is reached with that one instead.
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
    # A cut link is noticed after 15 s.
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ControlMaster": "auto",
    "ControlPersist": "60",
}


class Transport(ShellTransport):
    """Reaches a host of the user's ssh configuration; works below ~/.edgeproof there."""

    def __init__(self, root: Path, host: str | None = None) -> None:
        options = {**OPTIONS, "ControlPath": f"{_sockets()}/%C"}
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        config = root / CONFIG
        own = ["-F", str(config)] if config.is_file() else []
        super().__init__(["ssh", *own, *words, "--", str(host)], f".edgeproof/{root.name}")


def _sockets() -> Path:
    """A directory of the user's own, with a path short enough for a socket."""
    user = os.getuid()
    directory = Path(tempfile.gettempdir(), f"edgeproof-ssh-{user}")
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if directory.is_symlink() or status.st_uid != user or status.st_mode & 0o077:
        raise DeviceError(f"{directory} is not the user's own alone, so connections in it are not safe. Remove it.")
    return directory
