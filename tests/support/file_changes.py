"""Notice each change of the file system that a process is about to make, so that a test can stop it there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

EVENTS = ("os.rename", "os.mkdir", "os.symlink", "os.remove", "os.rmdir", "os.truncate")


def observe_changes(note: Callable[[], None]) -> None:
    """Call `note` before each change, until this process ends: an audit hook cannot be removed."""

    def observe(event: str, arguments: tuple[object, ...]) -> None:
        is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        if event in EVENTS or is_write:
            note()

    sys.addaudithook(observe)
