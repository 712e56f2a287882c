"""A board that ssh reaches: the system's OpenSSH with the user's ~/.ssh/config, and one connection for all commands.

Host keys are always checked, passwords are never asked for, and neither agents nor ports are forwarded. Addresses,
users and keys stay in ~/.ssh/config, and a card holds only the alias. If the device's directory
(.edgeproof/devices/<name>) holds a file ssh_config, that file replaces ~/.ssh/config.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from edgeproof.connection.private_directory import make_private_directory
from edgeproof.connection.shell import ShellTransport

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
# The exit code of ssh's own errors.
_SSH_ERROR = 255
_CHANGED_KEY = re.compile(
    r"REMOTE HOST IDENTIFICATION HAS CHANGED|REVOKED HOST KEY DETECTED|^Host key for .* has changed", re.M
)
_UNKNOWN_KEY = re.compile(r"^No .*host key is known for |^Host key verification failed", re.M)
_REFUSED_LOGIN = re.compile(r"Permission denied \([^)\n]*\)|Too many authentication failures")
_WRONG_CONFIGURATION = re.compile(r"^.*(?:Bad owner or permissions on|[Bb]ad configuration option).*$", re.M)
_FINGERPRINT = re.compile(r"\bSHA256:[A-Za-z0-9+/]+")
_STORED_KEY = re.compile(r"^Offending \S+ key in (.+:\d+)\s*$", re.M)


class Transport(ShellTransport):
    """The transport to a host of the user's ssh configuration. It works below ~/.edgeproof on the host."""

    def __init__(self, root: Path, host: str | None = None) -> None:
        options = {**OPTIONS, "ControlPath": f"{_make_socket_directory()}/%C"}
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        config = root / CONFIG
        config_option = ["-F", str(config)] if config.is_file() else []
        super().__init__(["ssh", *config_option, *words, "--", str(host)], f".edgeproof/{root.name}")
        self._host = str(host)
        self._login = shlex.join(["ssh", *config_option, str(host)])

    def explain_refusal(self, exit_code: int, output: str) -> str | None:
        """Return why ssh refused to connect or was refused. The message begins with what happened."""
        if exit_code != _SSH_ERROR:
            return None
        if _CHANGED_KEY.search(output):
            return self._explain_changed_key(output)
        if _UNKNOWN_KEY.search(output):
            return (
                f"the host key of {self._host} is unknown. Log in once by hand, compare the fingerprint with the "
                f"device's, and accept it: {self._login}"
            )
        if (login := _REFUSED_LOGIN.search(output)) is not None:
            return (
                f"{self._host} refused the login: {login[0]}. Check its User and IdentityFile in the ssh "
                f"configuration, then try: {self._login} true"
            )
        if (configuration := _WRONG_CONFIGURATION.search(output)) is not None:
            return f"ssh refuses its configuration: {configuration[0].strip()}. Then try: {self._login} true"
        return None

    def _explain_changed_key(self, output: str) -> str:
        fingerprint, stored = _FINGERPRINT.search(output), _STORED_KEY.search(output)
        now = f" It is {fingerprint[0]} now." if fingerprint else ""
        place = f" ({stored[1]})" if stored else ""
        change = "was revoked" if "REVOKED" in output else "changed"
        return (
            f"the host key of {self._host} {change}.{now} Either the device was installed again, or another machine "
            f"answers in its place. Compare the fingerprint on the device: ssh-keygen -lf "
            f"/etc/ssh/ssh_host_ed25519_key.pub. If it is the same, remove the old key{place} from known_hosts, and "
            f"log in once by hand: {self._login}"
        )


def _make_socket_directory() -> Path:
    """Make a directory that only the user can read, with a path that is short enough for a socket."""
    return make_private_directory("ssh")
