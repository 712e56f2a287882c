"""Cached steps of the board's build. A step fills a directory, and runs again only if its key or its code changes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeproof.core.directories import hash_file, write_atomically, write_json
from edgeproof.paths import WORK

BOARD = WORK / "board"
STEP_FILE = ".made.json"


def build_step(name: str, key: Mapping[str, Any], fill: Callable[[Path], None], title: str) -> Path:
    """Return the step's directory `name`, and fill it first if necessary.

    Args:
        key: JSON values that decide the content.
        fill: fills an empty directory. The file that defines it is a part of the key.
        title: printed before the directory is filled.
    """
    directory = BOARD / name
    identity = {"key": dict(key), "code": hash_file(Path(fill.__code__.co_filename))}
    if _read_step_file(directory) != identity:
        print(f"  {title}", file=sys.stderr, flush=True)
        with write_atomically(directory) as out:
            fill(out)
            write_json(out / STEP_FILE, identity)
    return directory


def hash_step(directory: Path) -> str:
    """Return the hash that identifies a finished step in the keys of later steps."""
    return hash_file(directory / STEP_FILE)


def _read_step_file(directory: Path) -> Any:
    try:
        return json.loads((directory / STEP_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
