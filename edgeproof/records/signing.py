"""Sign sessions of records on the host.

The key is an OpenSSH Ed25519 key without a passphrase, outside the project: the file that EDGEPROOF_SIGNING_KEY names,
or ~/.config/edgeproof/signing_key. Only this module reads it, and no part of it is ever written.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeproof.core import signatures
from edgeproof.core.directories import write_bytes, write_text
from edgeproof.core.errors import ConfigError
from edgeproof.core.signatures import BINDING, SIGNATURE, SUMS
from edgeproof.records import record_files
from edgeproof.records.session_ids import read_session_ids

KEY_VARIABLE = "EDGEPROOF_SIGNING_KEY"
# The default path of the key below the user's configuration directory.
DEFAULT_KEY = Path("edgeproof/signing_key")
KEY_HINT = "Make a key with 'ssh-keygen -t ed25519 -N \"\" -f KEY'."


def load_key(path: Path) -> Ed25519PrivateKey:
    """Read an Ed25519 private key in OpenSSH or PEM format. Raises ConfigError for any other file."""
    try:
        content = path.expanduser().read_bytes()
        load = serialization.load_ssh_private_key if b"OPENSSH" in content[:64] else serialization.load_pem_private_key
        key = load(content, password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} can't sign: {error}. {KEY_HINT}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is not an Ed25519 key. {KEY_HINT}")
    return key


def get_public_key(key: Ed25519PrivateKey) -> bytes:
    """Return the raw public key."""
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def load_configured_key() -> Ed25519PrivateKey | None:
    """Return the user's signing key, or None if none is configured.

    Raises ConfigError for a file that is not a key, and for a key inside the project.
    """
    path = find_configured_key()
    return None if path is None else load_key(path)


def find_configured_key() -> Path | None:
    """Return the path of the user's signing key, or None if none is configured.

    Raises ConfigError for a path inside the project.
    """
    configured = os.environ.get(KEY_VARIABLE)
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = Path(configured).expanduser() if configured else home / DEFAULT_KEY
    if not configured and not path.is_file():
        return None
    if Path().resolve() in path.resolve().parents:
        raise ConfigError(f"{path} lies in the project, where it may be published by mistake. Move it elsewhere.")
    return path


def sign_session(session: Path, key: Ed25519PrivateKey, name: str | None = None) -> None:
    """Sign all files of a session as they are now. An existing signature is replaced.

    The signature holds only for the session's `name`, by default that of its directory. Raises ArtifactError for a
    session with links, pipes or other special files.
    """
    ids = set(read_session_ids(record_files.list_directories(session)).values())
    write_bytes(session / BINDING, signatures.format_binding(name or session.absolute().name, ids))
    message = signatures.format_sums(session)
    text = signatures.armor(get_public_key(key), key.sign(signatures.encode_signed_data(message)))
    for file in (SUMS, SIGNATURE):
        (session / file).unlink(missing_ok=True)
    write_bytes(session / SUMS, message)
    write_text(session / SIGNATURE, text)


def remove_signature(session: Path) -> None:
    """Remove a session's signature, which is no longer valid."""
    for name in (SUMS, SIGNATURE, BINDING):
        (session / name).unlink(missing_ok=True)
