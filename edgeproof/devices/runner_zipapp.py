"""The runner as one file: a zipapp with the device's half of edgeproof, byte-identical wherever it is built."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from edgeproof.core import directories, plugins

PACKAGE = Path(__file__).parents[1]
SHIPPED = ("__init__.py", "core/*.py", "runner/*.py", "runtimes/__init__.py")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(runtime: str, directory: Path) -> Path:
    """Write the runner with one runtime into `directory`; its name is its sha256."""
    files = {
        f"edgeproof/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes()
        for pattern in SHIPPED
        for path in PACKAGE.glob(pattern)
    }
    files[f"edgeproof/runtimes/{runtime}.py"] = plugins.source("runtimes", runtime).read_bytes()
    files["__main__.py"] = files["edgeproof/runner/__main__.py"]
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    path = directory / f"runner-{digest.hexdigest()}.pyz"
    directories.write_bytes(path, zipped(files))
    return path


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip whose bytes depend on its files alone."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return stream.getvalue()
