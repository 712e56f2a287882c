"""Where a task's files come from: a list of sources tried in order, each file verified by its sha256.

The sha256 is that of the decompressed file, so that the same data is accepted whoever compressed it.
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
from typing import Any

from edgeproof.core.directories import written_whole
from edgeproof.core.errors import DataError
from edgeproof.progress import Progress

TIMEOUT_S = 30
_CHUNK_BYTES = 1 << 20


def fetch(task: str, sources: Sequence[Mapping[str, Any]], files: Mapping[str, str], into: Path) -> list[str]:
    """Fill `into` with the decompressed files of a task from the first source that has them all intact.

    Args:
        sources: each a mapping with 'kind' (folder, url, debian, package) and that kind's own keys.
        files: name to sha256 of the decompressed content.
        into: a directory, written whole or not at all.

    Returns the reasons why earlier sources were passed over. Raises DataError when none works.
    """
    reasons: list[str] = []
    for source in sources:
        try:
            with written_whole(into) as out, tempfile.TemporaryDirectory() as scratch:
                _fill(source, files, out, Path(scratch))
        except DataError as error:
            reasons.append(f"{describe(source)}: {error}")
        else:
            return reasons
    tried = "\n".join(f"  - {reason}" for reason in reasons)
    raise DataError(
        f"no source of task '{task}' has its {len(files)} files intact. Tried, in order:\n{tried}\n"
        f"Put the files into a folder and name it in conf/tasks/{task}.yaml (sources), or run the study that needs no "
        "download: make repro STUDY=digits"
    )


def describe(source: Mapping[str, Any]) -> str:
    """A source in one line, for messages."""
    return " ".join(str(value) for value in source.values())


def _fill(source: Mapping[str, Any], files: Mapping[str, str], out: Path, scratch: Path) -> None:
    locate = KINDS[source["kind"]](source, scratch)
    with Progress(f"fetching from {source['kind']}", len(files)) as progress:
        for name, expected in files.items():
            content = _decompressed(locate(name))
            actual = hashlib.sha256(content).hexdigest()
            if actual != expected:
                raise DataError(f"{name} has sha256 {actual[:12]}…, expected {expected[:12]}… (truncated or altered)")
            (out / name).write_bytes(content)
            progress.advance()


def _decompressed(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} is a damaged gzip file ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _beside(folder: Path) -> Callable[[str], Path]:
    """Find a file in a folder, plain or compressed."""

    def locate(name: str) -> Path:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
        raise DataError(f"no {name} or {name}.gz in {folder}")

    return locate


def _folder(source: Mapping[str, Any], scratch: Path) -> Callable[[str], Path]:
    folder = Path(os.path.expandvars(source["path"])).expanduser()
    if not folder.is_dir():
        raise DataError("no such folder")
    return _beside(folder)


def _url(source: Mapping[str, Any], scratch: Path) -> Callable[[str], Path]:
    if not source["base"].startswith(("https://", "http://")):
        raise DataError("only http and https addresses are fetched")

    def locate(name: str) -> Path:
        address = f"{source['base'].rstrip('/')}/{name}.gz"
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


def _debian(source: Mapping[str, Any], scratch: Path) -> Callable[[str], Path]:
    """A Debian package, downloaded with apt and unpacked beside us: nothing is installed, no root is needed."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DataError(f"{tool} is not on this machine")
    for folder in ("lists/partial", "cache/archives/partial"):
        (scratch / folder).mkdir(parents=True)
    private = [f"-oDir::State::Lists={scratch}/lists", f"-oDir::Cache={scratch}/cache", "-oAPT::Sandbox::User="]
    _run(["apt-get", *private, "-qq", "update"], scratch)
    _run(["apt-get", *private, "-qq", "download", source["package"]], scratch)
    packages = sorted(scratch.glob("*.deb"))
    if len(packages) != 1:
        raise DataError(f"apt-get downloaded {len(packages)} packages, expected one")
    _run(["dpkg-deb", "-x", str(packages[0]), str(scratch / "root")], scratch)
    return _beside(scratch / "root" / source["path"].lstrip("/"))


def _package(source: Mapping[str, Any], scratch: Path) -> Callable[[str], Path]:
    """Files that an installed Python package ships."""
    try:
        spec = importlib.util.find_spec(source["package"])
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"Python package '{source['package']}' is not installed; run 'make setup'")
    return _beside(Path(spec.submodule_search_locations[0]) / source["path"])


def _run(argv: list[str], cwd: Path) -> None:
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=20 * TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{argv[0]} did not finish in {20 * TIMEOUT_S} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise DataError(f"{argv[0]} failed: {last}")


KINDS: dict[str, Callable[[Mapping[str, Any], Path], Callable[[str], Path]]] = {
    "folder": _folder,
    "url": _url,
    "debian": _debian,
    "package": _package,
}
