"""Signatures of a session's records: one OpenSSH signature over the sha256 of every file.

    session.json      the name of the session's directory and the ids in its records
    SHA256SUMS        one line for each file, in the format of sha256sum
    SHA256SUMS.sig    its signature, as 'ssh-keygen -Y sign -n edgeproof' writes it with an Ed25519 key

Sessions that were signed by older versions have no session.json. Their signature does not depend on the name.

OpenSSH's document PROTOCOL.sshsig defines the format. Every reader of records verifies them, so this module needs the
standard library only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeproof.core import ed25519
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ArtifactError
from edgeproof.core.regular_files import is_regular_file, list_content

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
BINDING = "session.json"
NAMESPACE = "edgeproof"
_MAGIC, _VERSION = b"SSHSIG", 1
_ALGORITHM, _HASHES = b"ssh-ed25519", {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_BEGINS, _ENDS = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_LINE_CHARACTERS = 70
MAX_SIGNATURE_BYTES = 10_000


@dataclass(frozen=True)
class SessionSignature:
    """A valid signature of a session: the raw public key of its signer, and the signed sha256 of each file by name."""

    public_key: bytes
    sums: dict[str, str]

    @property
    def signer(self) -> str:
        """The fingerprint of the signer's key, as 'ssh-keygen -l' prints it."""
        return fingerprint(self.public_key)


def verify_session(session: Path) -> SessionSignature | None:
    """Verify the signature of a session's SHA256SUMS. Returns None if the session is not signed.

    Raises ArtifactError when the signature is damaged, incomplete, or of another content or another session's name.
    The files themselves are not hashed here: the caller compares them with `sums`.
    """
    paths = session / SUMS, session / SIGNATURE
    exists = [is_regular_file(path) for path in paths]
    if not any(exists):
        return None
    if not all(exists):
        missing = SIGNATURE if exists[0] else SUMS
        raise ArtifactError(f"{session} was signed, but its {missing} is missing.")
    message = paths[0].read_bytes()
    try:
        if paths[1].stat().st_size > MAX_SIGNATURE_BYTES:
            raise ValueError("it is too long")
        public_key, is_valid = verify(paths[1].read_text(encoding="ascii"), message)
        sums = _parse_sums(message)
    except ValueError as error:
        raise ArtifactError(f"{session}: {SIGNATURE} is no Ed25519 signature for '{NAMESPACE}': {error}.") from None
    if not is_valid:
        raise ArtifactError(f"{session}: {SUMS} was changed after it was signed: {SIGNATURE} does not match it.")
    _verify_name(session, sums)
    return SessionSignature(public_key, sums)


def verify(armored: str, message: bytes) -> tuple[bytes, bool]:
    """Return the raw public key of an armored signature, and True if it is that key's signature of the message.

    Raises ValueError when the text is no OpenSSH signature of an Ed25519 key for edgeproof.
    """
    lines = armored.strip().splitlines()
    if len(lines) < 3 or (lines[0].strip(), lines[-1].strip()) != (_BEGINS, _ENDS):
        raise ValueError("its first or last line is missing")
    try:
        blob = base64.b64decode("".join(lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if not blob.startswith(_MAGIC + _VERSION.to_bytes(4, "big")):
        raise ValueError("it has another format or version")
    key, namespace, reserved, hash_name, signature = _unpack_strings(blob[len(_MAGIC) + 4 :], 5)
    if namespace != NAMESPACE.encode():
        raise ValueError("it was made for another purpose")
    if hash_name not in _HASHES:
        raise ValueError("it names an unknown hash")
    if not all(part.startswith(_pack_strings(_ALGORITHM)) for part in (key, signature)):
        raise ValueError("it was made with another kind of key")
    (_, public_key), (_, raw) = _unpack_strings(key, 2), _unpack_strings(signature, 2)
    return public_key, ed25519.verify(public_key, _encode_signed_data(message, hash_name, reserved), raw)


def encode_signed_data(message: bytes) -> bytes:
    """Return the bytes that a key signs for a message: its sha512 with OpenSSH's header."""
    return _encode_signed_data(message, b"sha512", b"")


def armor(public_key: bytes, signature: bytes) -> str:
    """Format a raw signature of `encode_signed_data(message)` as the text file that OpenSSH reads."""
    parts = (encode_public_key(public_key), NAMESPACE.encode(), b"", b"sha512", _pack_strings(_ALGORITHM, signature))
    text = base64.b64encode(_MAGIC + _VERSION.to_bytes(4, "big") + _pack_strings(*parts)).decode()
    lines = [text[start : start + _LINE_CHARACTERS] for start in range(0, len(text), _LINE_CHARACTERS)]
    return "\n".join([_BEGINS, *lines, _ENDS, ""])


def encode_public_key(public_key: bytes) -> bytes:
    """Encode a raw Ed25519 key as OpenSSH does."""
    return _pack_strings(_ALGORITHM, public_key)


def fingerprint(public_key: bytes) -> str:
    """Return an Ed25519 key's fingerprint, as OpenSSH prints it."""
    digest = hashlib.sha256(encode_public_key(public_key)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def list_signed_files(session: Path) -> list[str]:
    """List the relative paths of all files of a session that its signature covers, sorted.

    Raises ArtifactError for a session with links, pipes or other special files.
    """
    content = list_content(session)
    if content.others:
        raise ArtifactError(f"{session / content.others[0]} is not a regular file, so {session} can't be signed.")
    return [name for name in content.files if name not in (SUMS, SIGNATURE)]


def format_binding(name: str, session_ids: Iterable[str]) -> bytes:
    """Return the content of session.json."""
    content = {"name": name, "session_ids": sorted(session_ids)}
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def format_sums(session: Path) -> bytes:
    """Hash a session's files and return the content of SHA256SUMS."""
    return "".join(f"{hash_file(session / name)}  {name}\n" for name in list_signed_files(session)).encode()


def _verify_name(session: Path, sums: dict[str, str]) -> None:
    """Compare the name under which a session was signed with its own. Raises ArtifactError if they differ."""
    if BINDING not in sums:
        return
    path, own = session / BINDING, session.absolute().name
    if not is_regular_file(path) or hash_file(path) != sums[BINDING]:
        raise ArtifactError(f"{path} was changed or removed after the session was signed.")
    try:
        name = json.loads(path.read_bytes())["name"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} names no session: {error}.") from None
    if name != own:
        raise ArtifactError(
            f"{session} was signed under the name '{name}'. It is a copy, or it replaces another session. "
            "Rename it, or remove it."
        )


def _parse_sums(content: bytes) -> dict[str, str]:
    lines = [line.partition("  ") for line in content.decode().splitlines()]
    return {name: digest for digest, _, name in lines}


def _encode_signed_data(message: bytes, hash_name: bytes, reserved: bytes) -> bytes:
    return _MAGIC + _pack_strings(NAMESPACE.encode(), reserved, hash_name, _HASHES[hash_name](message).digest())


def _pack_strings(*parts: bytes) -> bytes:
    """Join strings, each after its length in four bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _unpack_strings(blob: bytes, count: int) -> list[bytes]:
    """Split what `_pack_strings` joined into `count` strings. Raises ValueError for any other number or length."""
    parts = []
    for _ in range(count):
        end = 4 + int.from_bytes(blob[:4], "big")
        if len(blob) < end or len(blob) < 4:
            raise ValueError("it is cut off")
        parts.append(blob[4:end])
        blob = blob[end:]
    if blob:
        raise ValueError("it is longer than its lengths say")
    return parts
