"""Decide whether the records of a session may be used. Every reader of records asks here.

A record is refused if its session

- was changed after it was signed, or signed under another name;
- is unsigned or signed by a stranger, in a project that lists its allowed signers;
- has the id of a session in another directory.

Without a signature, nothing shows whether somebody edited a record and its hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from edgeproof.core import signatures
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ArtifactError
from edgeproof.core.signatures import SessionSignature
from edgeproof.records.allowed_signers import ALLOWED_SIGNERS, read_project_signers
from edgeproof.records.kinds import RECORD_FILE
from edgeproof.records.session_ids import find_repeated, read_session_ids

# The number of directories between a session and its records.
_LEVELS = 3

Signers = Mapping[bytes, str]


class SessionTrust:
    """Checks the sessions of records. Each signature is verified once.

    `signers` maps the allowed public keys to names; None allows every key and unsigned sessions. `repeated` maps the
    directory of each session whose id occurs elsewhere to its problem.
    """

    def __init__(self, signers: Signers | None, repeated: Mapping[Path, str]) -> None:
        self._signers = signers
        self._repeated = repeated
        self._sessions: dict[Path, SessionSignature | ArtifactError | None] = {}

    @classmethod
    def load(cls, repeated: Mapping[Path, str]) -> SessionTrust:
        """Return the trust of the project in the working directory. Raises ConfigError for unreadable signers."""
        return cls(read_project_signers(), repeated)

    def check(self, directory: Path) -> None:
        """Check the session of a record's directory. Raises ArtifactError for a record that may not be used."""
        path, session = directory / RECORD_FILE, get_session_directory(directory)
        if session in self._repeated:
            raise ArtifactError(f"{path} is left out: {self._repeated[session]}")
        if session not in self._sessions:
            self._sessions[session] = self._verify(session)
        signature = self._sessions[session]
        if isinstance(signature, ArtifactError):
            raise ArtifactError(f"{path} can't be trusted: {signature}")
        if signature is None:
            return
        name = Path(*directory.absolute().parts[-_LEVELS:], RECORD_FILE).as_posix()
        if signature.sums.get(name) != hash_file(path):
            raise ArtifactError(
                f"{path} was changed after it was signed. Restore the session from a backup or with 'dvc checkout'."
            )

    def _verify(self, session: Path) -> SessionSignature | ArtifactError | None:
        try:
            signature = signatures.verify_session(session)
            explain_distrust(session, signature, self._signers)
        except ArtifactError as error:
            return error
        return signature


def explain_distrust(session: Path, signature: SessionSignature | None, signers: Signers | None) -> None:
    """Raise ArtifactError for a session that is not signed by one of the allowed signers. None allows everything."""
    if signers is None:
        return
    if signature is None:
        raise ArtifactError(
            f"{session} is not signed, but the project has a list of allowed signers ({ALLOWED_SIGNERS}). If you "
            "measured it yourself, sign it with 'edgeproof sign'."
        )
    if signature.public_key not in signers:
        raise ArtifactError(f"{session} is signed by {signature.signer}, who is not an allowed signer")


def find_repeated_sessions(directories: Iterable[Path]) -> dict[Path, str]:
    """Return the problem of each session's directory whose id occurs in another one. Takes the records' directories."""
    sessions = {directory: get_session_directory(directory) for directory in directories}
    if len(set(sessions.values())) < 2:
        return {}
    ids: dict[str, set[str]] = {}
    for directory, session_id in read_session_ids(sessions).items():
        ids.setdefault(str(sessions[directory]), set()).add(session_id)
    return {Path(session): problem for session, problem in find_repeated(ids).items()}


def get_session_directory(directory: Path) -> Path:
    """Return the directory of the session that a record's directory belongs to."""
    parents = directory.parents if len(directory.parents) >= _LEVELS else directory.absolute().parents
    return parents[min(_LEVELS, len(parents)) - 1]
