"""Run one job on a host that has the locked packages but none of our code. All files it reads arrive as one zip.

This module is sent to the host by value, so it may import nothing but the standard library.
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

MAX_LOG_BYTES = 1 << 20
# Unpacked zips that no job has used for this long are removed.
MAX_UNUSED_S = 7 * 24 * 3600.0
PLUGINS = "plugins"


def run_job(inputs: bytes, job: str, params: str, reason: str | None) -> tuple[int, bytes, dict[str, bytes]]:
    """Run a session of the study in `inputs`.

    The unpacked inputs stay for a week, so that an interrupted session continues where it stopped.

    Args:
        inputs: a zip of the files that the session reads.
        job: key of the session.
        params: content of params.yaml.
        reason: abandons the session for this reason, if given.

    Returns:
        The exit code, the end of the output, and the files of the records by relative path.
    """
    root = _unpack(inputs)
    with tempfile.TemporaryDirectory() as scratch:
        # The signature of the records names their directory, so it is that of the job here too.
        study_file, out = Path(scratch, "params.yaml"), Path(scratch, "records", job)
        study_file.write_text(params, encoding="utf-8")
        command = [sys.executable, "-m", "edgeproof.farm.session", job, str(study_file), str(out)]
        plugins = os.pathsep.join(str(path) for path in sorted((root / PLUGINS).glob("*")))
        environment = {**os.environ, "PYTHONPATH": str(root), "EDGEPROOF_PLUGINS": plugins}
        process = subprocess.run(
            [*command, *([] if reason is None else [reason])], cwd=root, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    return process.returncode, process.stdout[-MAX_LOG_BYTES:], files


def _unpack(inputs: bytes) -> Path:
    """Unpack the zip into the user's cache, unless it is there, and remove old ones. Return its directory."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeproof" / "farm"
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / hashlib.sha256(inputs).hexdigest()
    if not root.is_dir():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            with zipfile.ZipFile(io.BytesIO(inputs)) as archive:
                archive.extractall(Path(scratch, "root"))
            try:
                Path(scratch, "root").rename(root)
            except OSError:
                if not root.is_dir():  # else another job of the same study was faster
                    raise
    os.utime(root)
    for other in cache.iterdir():
        if time.time() - other.stat().st_mtime > MAX_UNUSED_S:
            shutil.rmtree(other, ignore_errors=True)
    return root
