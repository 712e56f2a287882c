"""Whether a session's records are what was signed: one OpenSSH signature over the sha256 of every file.

    SHA256SUMS        a line a file, as sha256sum writes it
    SHA256SUMS.sig    its signature, as 'ssh-keygen -Y sign -n edgeproof' makes it with an Ed25519 key

The format is OpenSSH's PROTOCOL.sshsig. Standard library alone: whoever reads records checks them too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path

from edgeproof.core import ed25519
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ArtifactError

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
NAMESPACE = "edgeproof"
_MAGIC, _VERSION = b"SSHSIG", 1
_ALGORITHM, _HASHES = b"ssh-ed25519", {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_BEGINS, _ENDS = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_LINE = 70
MAX_SIGNATURE_BYTES = 10_000


@dataclass(frozen=True)
class SessionSignature:
    """A session whose signature holds: the key that made it, and what it says of each file."""

    public_key: bytes
    sums: dict[str, str]

    @property
    def signer(self) -> str:
        """The key's fingerprint, as 'ssh-keygen -l' prints it."""
        return fingerprint(self.public_key)


def verify_session(session: Path) -> SessionSignature | None:
    """What a session's signature says, None where it has none. Raises ArtifactError where it does not hold."""
    paths = session / SUMS, session / SIGNATURE
    there = [path.is_file() for path in paths]
    if not any(there):
        return None
    if not all(there):
        lacking = SIGNATURE if there[0] else SUMS
        raise ArtifactError(f"{session} was signed, and its {lacking} is missing.")
    message = paths[0].read_bytes()
    try:
        if paths[1].stat().st_size > MAX_SIGNATURE_BYTES:
            raise ValueError("it is too long")
        public_key, holds = verify(paths[1].read_text(encoding="ascii"), message)
        sums = _read_sums(message)
    except ValueError as error:
        raise ArtifactError(f"{session}: {SIGNATURE} is no signature of Ed25519 for '{NAMESPACE}': {error}.") from None
    if not holds:
        raise ArtifactError(f"{session}: {SUMS} was changed after it was signed: the signature is not its own.")
    return SessionSignature(public_key, sums)


def verify(armored: str, message: bytes) -> tuple[bytes, bool]:
    """The raw public key of a signature, and whether it is that key's for this message. Raises ValueError."""
    lines = armored.strip().splitlines()
    if len(lines) < 3 or (lines[0].strip(), lines[-1].strip()) != (_BEGINS, _ENDS):
        raise ValueError("it lacks its first or last line")
    try:
        blob = base64.b64decode("".join(lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if not blob.startswith(_MAGIC + _VERSION.to_bytes(4, "big")):
        raise ValueError("another format, or version")
    key, namespace, reserved, named, signature = _unpack_strings(blob[len(_MAGIC) + 4 :], 5)
    if namespace != NAMESPACE.encode():
        raise ValueError("it was made for another purpose")
    if named not in _HASHES:
        raise ValueError("it names an unknown hash")
    if not all(part.startswith(_pack_strings(_ALGORITHM)) for part in (key, signature)):
        raise ValueError("it is of another kind of key")
    (_, public_key), (_, raw) = _unpack_strings(key, 2), _unpack_strings(signature, 2)
    return public_key, ed25519.verify(public_key, _encode_signed_data(message, named, reserved), raw)


def encode_signed_data(message: bytes) -> bytes:
    """What a key signs in place of the message."""
    return _encode_signed_data(message, b"sha512", b"")


def armor(public_key: bytes, signature: bytes) -> str:
    """A signature of `to_sign(message)` as the file that OpenSSH reads."""
    parts = (encode_public_key(public_key), NAMESPACE.encode(), b"", b"sha512", _pack_strings(_ALGORITHM, signature))
    text = base64.b64encode(_MAGIC + _VERSION.to_bytes(4, "big") + _pack_strings(*parts)).decode()
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return "\n".join([_BEGINS, *lines, _ENDS, ""])


def encode_public_key(public_key: bytes) -> bytes:
    """An Ed25519 key as OpenSSH encodes it."""
    return _pack_strings(_ALGORITHM, public_key)


def fingerprint(public_key: bytes) -> str:
    """An Ed25519 key's fingerprint as OpenSSH prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(encode_public_key(public_key)).digest()).decode().rstrip("=")


def list_signed_files(session: Path) -> list[str]:
    """Relative paths of everything that is signed in a session, sorted."""
    found = (path.relative_to(session).as_posix() for path in session.rglob("*") if path.is_file())
    return sorted(name for name in found if name not in (SUMS, SIGNATURE))


def format_sums(session: Path) -> bytes:
    """The content of SHA256SUMS."""
    return "".join(f"{hash_file(session / name)}  {name}\n" for name in list_signed_files(session)).encode()


def _read_sums(content: bytes) -> dict[str, str]:
    lines = [line.partition("  ") for line in content.decode().splitlines()]
    return {name: digest for digest, _, name in lines}


def _encode_signed_data(message: bytes, named: bytes, reserved: bytes) -> bytes:
    return _MAGIC + _pack_strings(NAMESPACE.encode(), reserved, named, _HASHES[named](message).digest())


def _pack_strings(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _unpack_strings(blob: bytes, count: int) -> list[bytes]:
    """Exactly so many strings, each after its length. Raises ValueError."""
    found = []
    for _ in range(count):
        end = 4 + int.from_bytes(blob[:4], "big")
        if len(blob) < end or len(blob) < 4:
            raise ValueError("it is cut off")
        found.append(blob[4:end])
        blob = blob[end:]
    if blob:
        raise ValueError("it is longer than it says")
    return found
