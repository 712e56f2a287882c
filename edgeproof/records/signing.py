"""Signing results on the host, and saying of what lies on the disk whether it is what was signed.

The key is an Ed25519 key of OpenSSH's without a passphrase, outside the project: the file that EDGEPROOF_SIGNING_KEY
names, or ~/.config/edgeproof/signing_key. It is read here and nowhere else, and nothing of it is ever written.
"""

from __future__ import annotations

import base64
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeproof.core import signatures
from edgeproof.core.directories import hash_file, write_bytes, write_text
from edgeproof.core.errors import ArtifactError, ConfigError
from edgeproof.core.signatures import SIGNATURE, SUMS
from edgeproof.records import record_files

KEY_VARIABLE = "EDGEPROOF_SIGNING_KEY"
DEFAULT_KEY = Path("edgeproof/signing_key")
# Whose signatures a project trusts, as ssh-keygen -Y verify reads it.
ALLOWED_SIGNERS = Path("allowed_signers")
KEY_HINT = "Make a key with 'ssh-keygen -t ed25519 -N \"\" -f KEY'."


def load_key(path: Path) -> Ed25519PrivateKey:
    """An Ed25519 private key in OpenSSH's format or PEM. Raises ConfigError for what can't sign."""
    try:
        content = path.expanduser().read_bytes()
        read = serialization.load_ssh_private_key if b"OPENSSH" in content[:64] else serialization.load_pem_private_key
        key = read(content, password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} can't sign: {error}. {KEY_HINT}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is no Ed25519 key. {KEY_HINT}")
    return key


def get_public_key(key: Ed25519PrivateKey) -> bytes:
    """The raw public half."""
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def load_configured_key() -> Ed25519PrivateKey | None:
    """The user's signing key; None where none is configured. Raises ConfigError for one that must not or can't sign."""
    named = os.environ.get(KEY_VARIABLE)
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = Path(named).expanduser() if named else home / DEFAULT_KEY
    if not named and not path.is_file():
        return None
    if Path().resolve() in path.resolve().parents:
        raise ConfigError(f"{path} lies in the project, where a key is published sooner or later. Move it elsewhere.")
    return load_key(path)


def sign_session(session: Path, key: Ed25519PrivateKey) -> None:
    """Sign all files of a session as they are now."""
    message = signatures.format_sums(session)
    text = signatures.armor(get_public_key(key), key.sign(signatures.encode_signed_data(message)))
    remove_signature(session)
    write_bytes(session / SUMS, message)
    write_text(session / SIGNATURE, text)


def remove_signature(session: Path) -> None:
    """Remove a session's signature, which no longer holds."""
    for name in (SUMS, SIGNATURE):
        (session / name).unlink(missing_ok=True)


# --- verifying -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SessionFinding:
    """One session: its outcome (verified, unsigned, tampered), its records, who signed it, and what is wrong."""

    session: Path
    outcome: str
    records: int
    signer: str | None = None
    problems: tuple[str, ...] = ()


def list_sessions(places: Sequence[Path]) -> list[Path]:
    """Every session at or below the places, known by its records or by its signature. Raises ConfigError."""
    found: set[Path] = set()
    for place in places:
        if not place.is_dir():
            raise ConfigError(f"{place} is no directory with records.")
        found |= {record_files.get_session_directory(directory) for directory in record_files.list_directories(place)}
        signed = {path.parent for name in (SUMS, SIGNATURE) for path in place.rglob(name)}
        # What is hidden was left half-written.
        found |= {of for of in signed if not any(part.startswith(".") for part in of.relative_to(place).parts)}
    if not found:
        raise ConfigError(f"there are no records below {', '.join(map(str, places))}.")
    return sorted(found)


def verify_sessions(places: Sequence[Path], trusted: Mapping[bytes, str] | None) -> Iterator[SessionFinding]:
    """A finding a session. Those signed by a key that is not `trusted` are tampered with; None trusts any key."""
    for session in list_sessions(places):
        count = len(record_files.list_directories(session))
        try:
            told = signatures.verify_session(session)
        except ArtifactError as error:
            yield SessionFinding(session, "tampered", count, problems=(str(error),))
            continue
        if told is None:
            problems = tuple(_record_problems(session))
            yield SessionFinding(session, "tampered" if problems else "unsigned", count, problems=problems)
            continue
        signer = told.signer if trusted is None else trusted.get(told.public_key)
        problems = tuple(_session_problems(session, told.sums))
        if signer is None:
            problems = (f"{session} is signed by {told.signer}, who is not among the allowed signers", *problems)
        yield SessionFinding(session, "tampered" if problems else "verified", count, signer, problems)


def _session_problems(session: Path, sums: Mapping[str, str]) -> Iterator[str]:
    there = set(signatures.list_signed_files(session))
    for name in sorted(there | set(sums)):
        if name not in there:
            yield f"{session / name} is missing"
        elif name not in sums:
            yield f"{session / name} was added after the session was signed"
        elif hash_file(session / name) != sums[name]:
            yield f"{session / name} was changed after it was signed"


def _record_problems(session: Path) -> Iterator[str]:
    """What is wrong with records that nobody signed: each names its files by sha256."""
    for directory in record_files.list_directories(session):
        try:
            record = record_files.read(directory)
            for name in record.content["files"]:
                record.file(name)
        except (ArtifactError, KeyError, TypeError) as error:
            yield str(error) if isinstance(error, ArtifactError) else f"{directory} names no files"


def read_allowed_signers(path: Path) -> dict[bytes, str]:
    """The Ed25519 keys of a file of allowed signers (ssh-keygen's), with their names. Raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}.") from None
    found: dict[bytes, str] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            key, name = _allowed(line, f"{path}, line {number}")
            if key is not None:
                found[key] = name
    if not found:
        raise ConfigError(f"{path} names no Ed25519 key. A line is: you@example.org ssh-ed25519 AAAA…")
    return found


def _allowed(line: str, where: str) -> tuple[bytes | None, str]:
    """A line's key and name; no key where it is not for signing results."""
    try:
        name, *options, kind, encoded = shlex.split(line.partition(" #")[0])[: 3 + _has_options(line)]
    except ValueError:
        raise ConfigError(f"{where} is not 'name ssh-ed25519 key'.") from None
    for option in options:
        key, _, spaces = option.partition("=")
        if key.lower() != "namespaces":
            raise ConfigError(f"{where}: option '{key}' is not understood here; ssh-keygen -Y verify is.")
        if signatures.NAMESPACE not in spaces.split(","):
            return None, name
    if kind != "ssh-ed25519":
        return None, name
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError:
        blob = b""
    raw = blob[-32:]
    if blob != signatures.encode_public_key(raw):
        raise ConfigError(f"{where} holds no Ed25519 key.")
    return raw, name


def _has_options(line: str) -> bool:
    words = line.split()
    return len(words) > 1 and not words[1].startswith(("ssh-", "ecdsa-", "sk-"))
