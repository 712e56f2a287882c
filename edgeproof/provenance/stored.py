"""Find data, models and artifacts on disk by their sha256."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof.core.directories import content_sha256, read_meta
from edgeproof.core.errors import ArtifactError

SHA256_DIGITS = 12
INTACT, OTHER, DAMAGED, ABSENT = "intact", "another build is there", "damaged", "not on this machine"
CONTRADICTORY = "contradictory"


@dataclass(frozen=True)
class StoredDirectory:
    """A place on disk and its state.

    Attributes:
        path: the directory; None if there is no place to look at.
        state: INTACT, ABSENT, or OTHER or DAMAGED with the details.
        meta: the content of its meta.json, if that is readable.
    """

    path: Path | None
    state: str
    meta: Mapping[str, Any] | None = None


def find_stored(places: Iterable[Path], sha256: str) -> StoredDirectory:
    """Return the first place that holds exactly `sha256`, or else the first one that holds anything."""
    best = StoredDirectory(None, ABSENT)
    for place in places:
        stored = _check(place, sha256)
        if stored.state == INTACT:
            return stored
        if best.path is None or (best.state == ABSENT and stored.state != ABSENT):
            best = stored
    return best


def _check(place: Path, sha256: str) -> StoredDirectory:
    if not place.is_dir():
        return StoredDirectory(place, ABSENT)
    try:
        meta = read_meta(place)
    except ArtifactError as error:
        return StoredDirectory(place, f"{DAMAGED}: {error}")
    stored_sha256 = content_sha256(meta)
    state = INTACT if stored_sha256 == sha256 else f"{OTHER} ({stored_sha256[:SHA256_DIGITS]})"
    return StoredDirectory(place, state, meta)
