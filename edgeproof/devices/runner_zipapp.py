"""Package the runner as one file: a zipapp with the device's part of edgeproof, one runtime and at most one task.

The archive has the same bytes wherever it is built.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from edgeproof.core import directories, plugins
from edgeproof.devices import imports

_ENTRY = "edgeproof.runner.__main__"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(runtime: str, directory: Path, task: str | None = None) -> Path:
    """Write the runner with one runtime into `directory` and return its path. Its name holds the sha256 of its files.

    `task` names the task whose postprocess() or raw inputs jobs need, or None. Raises UnknownNameError when there is
    no such runtime or task.
    """
    chosen = [("runtimes", runtime), *([] if task is None else [("tasks", task)])]
    files = imports.read_program(
        _ENTRY, {f"edgeproof.{kind}.{name}": plugins.find_source(kind, name) for kind, name in chosen}
    )
    return write_program("runner", files, directory)


def write_program(kind: str, files: Mapping[str, bytes], directory: Path) -> Path:
    """Write the files of a program as <kind>-<sha256 of its files>.pyz and return the path."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    path = directory / f"{kind}-{digest.hexdigest()}.pyz"
    directories.write_bytes(path, zip_files(files))
    return path


def zip_files(files: Mapping[str, bytes]) -> bytes:
    """Return a zip archive whose bytes depend on the files only."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return stream.getvalue()
