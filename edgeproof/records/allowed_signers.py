"""Read the file of allowed signers: the keys that a project trusts, in the format of ssh-keygen -Y verify."""

from __future__ import annotations

import base64
import shlex
from pathlib import Path

from edgeproof.core import signatures
from edgeproof.core.errors import ConfigError

ALLOWED_SIGNERS = Path("allowed_signers")


def read_project_signers() -> dict[bytes, str] | None:
    """Return the allowed signers of the project in the working directory, or None if it has no list of them.

    Raises ConfigError as `read_allowed_signers` does.
    """
    return read_allowed_signers(ALLOWED_SIGNERS) if ALLOWED_SIGNERS.exists() else None


def read_allowed_signers(path: Path) -> dict[bytes, str]:
    """Return the Ed25519 keys in a file of allowed signers, with their names.

    Raises ConfigError for a file that can't be read, has an invalid line, or contains no key.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}.") from None
    signers: dict[bytes, str] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            key, name = _parse_line(line, f"{path}, line {number}")
            if key is not None:
                signers[key] = name
    if not signers:
        raise ConfigError(f"{path} contains no Ed25519 key. A line is: you@example.org ssh-ed25519 AAAA…")
    return signers


def _parse_line(line: str, where: str) -> tuple[bytes | None, str]:
    """Return the key and the name; the key is None if it is of another type or for another purpose."""
    try:
        name, *options, kind, encoded = shlex.split(line.partition(" #")[0])[: 3 + _has_options(line)]
    except ValueError:
        raise ConfigError(f"{where} is not 'name ssh-ed25519 key'.") from None
    for option in options:
        key, _, namespaces = option.partition("=")
        if key.lower() != "namespaces":
            raise ConfigError(
                f"{where}: the option '{key}' is not supported. Check with 'ssh-keygen -Y verify' instead."
            )
        if signatures.NAMESPACE not in namespaces.split(","):
            return None, name
    if kind != "ssh-ed25519":
        return None, name
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError:
        blob = b""
    public_key = blob[-32:]
    if blob != signatures.encode_public_key(public_key):
        raise ConfigError(f"{where} contains no valid Ed25519 key.")
    return public_key, name


def _has_options(line: str) -> bool:
    words = line.split()
    return len(words) > 1 and not words[1].startswith(("ssh-", "ecdsa-", "sk-"))
