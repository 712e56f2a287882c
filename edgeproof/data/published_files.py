"""Fetch a file that others published, such as trained weights, once, and verify it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeproof.config.params import Source
from edgeproof.data import sources
from edgeproof.paths import DATA


def fetch_published_file(
    task: str, candidates: Sequence[Source], file: str, checksum: str, *, listed_in: str, root: Path = DATA
) -> Path:
    """Return the path of a published file, after fetching it once into `root`.

    Args:
        task: name of the task, for messages.
        candidates: the sources to try, in order.
        file: name of the file.
        checksum: SHA-256 of the file, or "md5:" and its MD5.
        listed_in: where the sources are listed, for messages.
        root: the directory below which fetched files are stored.

    Raises DataError when no source has the file intact.
    """
    folder = root / "weights" / checksum.removeprefix(sources.MD5)[:16]
    files = {file: checksum}
    if not sources.is_intact(folder, candidates, files):
        sources.fetch(task, candidates, files, folder, listed_in=listed_in)
    return folder / file
