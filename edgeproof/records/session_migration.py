"""Records of an older schema written anew in this version's, a session at a time, each swapped in whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from edgeproof.core.directories import write_atomically, write_json
from edgeproof.records import kinds, record_files, signing


def migrate_sessions(root: Path, damaged: list[str]) -> Iterator[tuple[str, int]]:
    """Raise every older record below `root`; yields each session that had any, with their number.

    Raw arrays stay as they are and keep their hashes. Records that can't be read stay too and are told in `damaged`.
    A signature is of the old bytes: it is made anew where a key is configured, else removed.
    """
    key = signing.load_configured_key()
    for session in sorted(path for path in root.glob("[!.]*") if path.is_dir()):
        found = list(record_files.read_all(session, damaged=damaged))
        older = [record for record in found if record.schema < record_files.SCHEMA]
        if older:
            with write_atomically(session) as out:
                shutil.copytree(session, out, dirs_exist_ok=True)
                for record in older:
                    place = out / record.directory.relative_to(session) / kinds.RECORD_FILE
                    place.unlink()  # DVC's checkout may be read-only
                    write_json(place, dict(record.content))
                signing.remove_signature(out)  # it was of other bytes
                if key is not None:
                    signing.sign_session(out, key)
            yield session.name, len(older)
