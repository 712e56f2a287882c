"""Fetch a task's files: its sources are tried in order, and each file is verified by its SHA-256.

The SHA-256 is that of the decompressed file, so the same data is accepted with any compression.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import importlib.util
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgeproof.config.params import DebianSource, FolderSource, PackageSource, Source, UrlSource
from edgeproof.core.directories import write_atomically
from edgeproof.core.errors import DataError
from edgeproof.progress import Progress

TIMEOUT_S = 30
COMMAND_TIMEOUT_S = 600
_CHUNK_BYTES = 1 << 20

# Returns the path of the file of a given name, after fetching it. Raises DataError.
Locate = Callable[[str], Path]


def fetch(task: str, sources: Sequence[Source], files: Mapping[str, str], into: Path) -> list[str]:
    """Fill a directory with the decompressed files of a task, from the first source that has all of them intact.

    Args:
        task: name of the task, for messages.
        sources: the sources to try, in order.
        files: name → SHA-256 of the decompressed content.
        into: the directory. It is written completely or not at all.

    Returns the reasons why earlier sources were skipped. Raises DataError when no source works.
    """
    reasons: list[str] = []
    for source in sources:
        try:
            with write_atomically(into) as out, tempfile.TemporaryDirectory() as scratch:
                _fetch_files(source, files, out, Path(scratch))
        except DataError as error:
            reasons.append(f"{describe(source)}: {error}")
        else:
            return reasons
    attempts = "\n".join(f"  - {reason}" for reason in reasons)
    raise DataError(
        f"no source of task '{task}' has its {len(files)} files intact. Tried, in order:\n{attempts}\n"
        f"Put the files into a folder and add it to 'sources' in conf/tasks/{task}.yaml, or run a study without a "
        "download: make repro STUDY=digits"
    )


def describe(source: Source) -> str:
    """Return a source in one line, for messages."""
    return " ".join(str(value) for value in source.model_dump().values())


def _fetch_files(source: Source, files: Mapping[str, str], out: Path, scratch: Path) -> None:
    locate = _open_source(source, scratch)
    with Progress(f"fetching from {source.kind}", len(files)) as progress:
        for name, expected in files.items():
            content = _read_decompressed(locate(name))
            actual = hashlib.sha256(content).hexdigest()
            if actual != expected:
                raise DataError(f"{name} has sha256 {actual[:12]}…, expected {expected[:12]}… (truncated or altered)")
            (out / name).write_bytes(content)
            progress.advance()


def _open_source(source: Source, scratch: Path) -> Locate:
    match source:
        case FolderSource():
            return _open_folder(source)
        case UrlSource():
            return _open_url(source, scratch)
        case DebianSource():
            return _open_debian_package(source, scratch)
        case PackageSource():
            return _open_python_package(source)


def _read_decompressed(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} is a damaged gzip file ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _search(folder: Path) -> Locate:
    """Return a function that finds a file in a folder, with or without compression."""

    def locate(name: str) -> Path:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
        raise DataError(f"no {name} or {name}.gz in {folder}")

    return locate


def _open_folder(source: FolderSource) -> Locate:
    folder = Path(os.path.expandvars(source.path)).expanduser()
    if not folder.is_dir():
        raise DataError("no such folder")
    return _search(folder)


def _open_url(source: UrlSource, scratch: Path) -> Locate:
    if not source.base.startswith(("https://", "http://")):
        raise DataError("only http and https addresses are fetched")

    def locate(name: str) -> Path:
        address = f"{source.base.rstrip('/')}/{name}.gz"
        path = scratch / f"{name}.gz"
        try:
            request = urllib.request.Request(address, headers={"User-Agent": "edgeproof"})  # noqa: S310 - checked above
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, path.open("wb") as file:  # noqa: S310
                shutil.copyfileobj(answer, file, _CHUNK_BYTES)
        except urllib.error.URLError as error:
            raise DataError(f"{address}: {error.reason}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DataError(f"{address}: {type(error).__name__}: {error}") from error
        return path

    return locate


def _open_debian_package(source: DebianSource, scratch: Path) -> Locate:
    """Download a package with apt and unpack it into `scratch`. It is not installed, so no root rights are needed."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise DataError(f"{program} is not on this machine")
    for folder in ("lists/partial", "cache/archives/partial"):
        (scratch / folder).mkdir(parents=True)
    private = [f"-oDir::State::Lists={scratch}/lists", f"-oDir::Cache={scratch}/cache", "-oAPT::Sandbox::User="]
    _run(["apt-get", *private, "-qq", "update"], scratch)
    _run(["apt-get", *private, "-qq", "download", source.package], scratch)
    packages = sorted(scratch.glob("*.deb"))
    if len(packages) != 1:
        raise DataError(f"apt-get downloaded {len(packages)} packages, expected one")
    _run(["dpkg-deb", "-x", str(packages[0]), str(scratch / "root")], scratch)
    return _search(scratch / "root" / source.path.lstrip("/"))


def _open_python_package(source: PackageSource) -> Locate:
    try:
        spec = importlib.util.find_spec(source.package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"Python package '{source.package}' is not installed; run 'make setup'")
    return _search(Path(spec.submodule_search_locations[0]) / source.path)


def _run(argv: list[str], cwd: Path) -> None:
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{argv[0]} did not finish in {COMMAND_TIMEOUT_S} s") from error
    if done.returncode != 0:
        last_line = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise DataError(f"{argv[0]} failed: {last_line}")
