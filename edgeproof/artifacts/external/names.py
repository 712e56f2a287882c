"""Names of external files in tables and directories."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from edgeproof.core.errors import ConfigError

UNNAMED = "model"  # the name of a file without a letter or a digit in its name
MAX_NAME_BYTES = 150  # a file system takes 255 bytes, and directories of results add to a name


def name_files(paths: Sequence[Path]) -> list[str]:
    """Name each file by its stem. Where stems are alike, the suffix distinguishes them, or else the directories.

    Raises ConfigError for a file that is given twice, or if the names cannot be distinguished.
    """
    resolved = [path.resolve() for path in paths]
    for index, path in enumerate(paths):
        if resolved[index] in resolved[:index]:
            raise ConfigError(f"{path} is given twice. Name each file once.")
    candidates = [_list_candidates(path) for path in paths]
    names = [_choose_unique(own, candidates) for own in candidates]
    for path, name in zip(paths, names, strict=True):
        if names.count(name) > 1:
            raise ConfigError(f"{path} has no unique name ('{name}'). Rename the file, or measure it in another run.")
    return names


def _list_candidates(path: Path) -> list[str]:
    """List the names that a file may have: its stem, its whole name, then both after one directory, two, …"""
    stem = path.stem if path.suffix else path.name
    directories = path.resolve().parent.parts[1:]
    prefixes = ["", *("_".join([*directories[-depth:], ""]) for depth in range(1, len(directories) + 1))]
    return [_to_identifier(prefix + text) for prefix in prefixes for text in (stem, path.name)]


def _choose_unique(own: Sequence[str], candidates: Sequence[Sequence[str]]) -> str:
    """Return the first candidate of a file that no other file has in the same place. Falls back to the first one."""
    for place, name in enumerate(own):
        if [each[place] for each in candidates if place < len(each)].count(name) == 1:
            return name
    return own[0]


def _to_identifier(text: str) -> str:
    """Return small letters and digits of any script, and _ for everything between them."""
    name = re.sub(r"[\W_]+", "_", unicodedata.normalize("NFC", text).lower()).strip("_")
    return name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip("_") or UNNAMED
