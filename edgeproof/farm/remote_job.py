"""One job on a host that has the locked packages and nothing of ours: what it reads came along, named by its sha256.

This module travels to the host by value and must need nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

LOG_BYTES = 1 << 20
MAX_UNUSED_S = 7 * 24 * 3600.0
PLUGINS = "plugins"


def run_job(packed: bytes, job: str, params: str, reason: str | None) -> tuple[int, bytes, dict[str, bytes]]:
    """Run a session of the study in `packed`; returns its exit code, the end of its output, and its records' files.

    What was sent stays for a week, so that an interrupted session continues where it stopped.
    """
    root = _unpack(packed)
    with tempfile.TemporaryDirectory() as scratch:
        given, out = Path(scratch, "params.yaml"), Path(scratch, "out")
        given.write_text(params, encoding="utf-8")
        command = [sys.executable, "-m", "edgeproof.farm.session", job, str(given), str(out)]
        plugins = os.pathsep.join(str(path) for path in sorted((root / PLUGINS).glob("*")))
        environment = {**os.environ, "PYTHONPATH": str(root), "EDGEPROOF_PLUGINS": plugins}
        done = subprocess.run(
            [*command, *([] if reason is None else [reason])], cwd=root, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    return done.returncode, done.stdout[-LOG_BYTES:], files


def _unpack(packed: bytes) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeproof" / "farm"
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / hashlib.sha256(packed).hexdigest()
    if not root.is_dir():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                archive.extractall(Path(scratch, "root"))
            try:
                Path(scratch, "root").rename(root)
            except OSError:
                if not root.is_dir():  # else another job of the same study was first
                    raise
    os.utime(root)
    for other in cache.iterdir():
        if time.time() - other.stat().st_mtime > MAX_UNUSED_S:
            shutil.rmtree(other, ignore_errors=True)
    return root
