"""Rewrite records of older schemas on disk, session by session. Each session is replaced as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from edgeproof.core.directories import write_atomically, write_json
from edgeproof.records import kinds, record_files, signing


def migrate_sessions(root: Path, damaged: list[str]) -> Iterator[tuple[str, int]]:
    """Rewrite every older record below `root` in this version's schema. Yield the name of each session and its count.

    Raw arrays and their hashes stay the same. Unreadable records stay as they are, and their reasons are appended to
    `damaged`. A signature becomes invalid: it is renewed if a key is configured, and removed otherwise.
    """
    key = signing.load_configured_key()
    for session in sorted(path for path in root.glob("[!.]*") if path.is_dir()):
        records = record_files.read_all(session, damaged=damaged)
        older = [record for record in records if record.schema < record_files.SCHEMA]
        if older:
            with write_atomically(session) as out:
                shutil.copytree(session, out, dirs_exist_ok=True)
                for record in older:
                    path = out / record.directory.relative_to(session) / kinds.RECORD_FILE
                    path.unlink()  # the file of a DVC checkout may be read-only
                    write_json(path, dict(record.content))
                signing.remove_signature(out)
                if key is not None:
                    signing.sign_session(out, key, session.name)
            yield session.name, len(older)
