"""Find sessions that were copied: the id of a session is unique, so no two directories may hold records of one id."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgeproof.records.kinds import RECORD_FILE

# Records of schema 1 have no unique id. Their migration gives all sessions of one number the same name.
_NUMBERED = re.compile(r"session -?\d+")


def read_session_ids(directories: Iterable[Path]) -> dict[Path, str]:
    """Return the session's id of each record's directory. Unreadable records and those of schema 1 are left out."""
    ids = {}
    for directory in directories:
        try:
            content: Any = json.loads((directory / RECORD_FILE).read_text(encoding="utf-8"))
            session_id = content["session_id"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(session_id, str) and not _NUMBERED.fullmatch(session_id):
            ids[directory] = session_id
    return ids


def find_repeated(ids: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the problem of every session's directory whose id occurs in another directory too.

    `ids` maps each session's directory to the ids of its records.
    """
    places: dict[str, set[str]] = defaultdict(set)
    for directory, own in ids.items():
        for session_id in own:
            places[session_id].add(directory)
    problems: dict[str, str] = {}
    for session_id, directories in places.items():
        if len(directories) > 1:
            problem = (
                f"the session '{session_id}' is in {len(directories)} directories: {', '.join(sorted(directories))}"
            )
            problems |= dict.fromkeys(directories, f"{problem}. Remove all copies but the original.")
    return problems
