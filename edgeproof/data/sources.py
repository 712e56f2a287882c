"""Fetch a task's files: its sources are tried in order, and each file is verified by its checksum.

The checksum is that of the decompressed file, so the same data is accepted with any compression. An archive, whose name
ends with .gz or .zip, stays packed: its checksum is that of the archive, and the task reads the files inside.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tempfile
import urllib.error
import urllib.parse
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgeproof.config.params import Source, UrlSource
from edgeproof.core import plugins
from edgeproof.core.directories import write_atomically
from edgeproof.core.errors import DataError
from edgeproof.data.source_folders import download, open_folder
from edgeproof.progress import Progress

PACKED_SUFFIXES = (".gz", ".zip")
MD5 = "md5:"

# Returns the path of the file of a given name, after fetching it. Raises DataError.
Locate = Callable[[str], Path]


def fetch(
    task: str, sources: Sequence[Source], files: Mapping[str, str], into: Path, *, listed_in: str | None = None
) -> list[str]:
    """Fill a directory with the files of a task, decompressed, from the first source that has all of them intact.

    Args:
        task: name of the task, whose convert() makes files of another form.
        sources: the sources to try, in order.
        files: name → checksum, for a source that names no files of its own.
        into: the directory. It is written completely or not at all.
        listed_in: the YAML that lists the sources, for messages, if it is not that of the task.

    Returns the reasons why earlier sources were skipped. Raises DataError when no source works.
    """
    reasons: list[str] = []
    for source in sources:
        try:
            with write_atomically(into) as out, tempfile.TemporaryDirectory() as scratch:
                _fetch_files(task, source, files, out, Path(scratch))
        except DataError as error:
            reasons.append(f"{describe(source)}: {error}")
        else:
            return reasons
    attempts = "\n".join(f"  - {reason}" for reason in reasons)
    raise DataError(
        f"no source of task '{task}' has its {len(files)} files intact. Tried, in order:\n{attempts}\n"
        f"Put the files into a folder and add it to 'sources' in {listed_in or f'conf/tasks/{task}.yaml'}, or run a "
        "study without a download: make repro STUDY=digits"
    )


def describe(source: Source) -> str:
    """Return a source in one line, for messages."""
    return " ".join(str(value) for value in source.model_dump(exclude={"files"}).values())


def is_intact(directory: Path, sources: Sequence[Source], files: Mapping[str, str]) -> bool:
    """Return True if a directory has all files of one source. The files of a pattern have no checksums to compare."""
    return any(
        all((directory / name).is_file() and _compute_checksum(directory / name, sum_) == sum_ for name, sum_ in pairs)
        for pairs in ((source.files or files).items() for source in sources)
    )


def _fetch_files(task: str, source: Source, files: Mapping[str, str], out: Path, scratch: Path) -> None:
    if isinstance(source, UrlSource):
        _copy_files(source, _open_url(source, scratch), source.files or files, out)
        return
    folder = open_folder(source, scratch)
    form, pattern = getattr(source, "form", None), getattr(source, "pattern", None)
    if form is not None:
        folder = _convert(task, form, folder, scratch)
    if pattern is not None:
        _copy_matching(folder, pattern, out)
    else:
        _copy_files(source, _search(folder), source.files or files, out)


def _convert(task: str, form: str, folder: Path, scratch: Path) -> Path:
    """Let the task make its files from a folder that has its data in another form. Raises DataError."""
    into = scratch / "converted"
    into.mkdir()
    plugins.load("tasks", task).convert(folder, form, into)
    return into


def _copy_files(source: Source, locate: Locate, files: Mapping[str, str], out: Path) -> None:
    """Copy the named files, decompressed, and verify them. Raises DataError."""
    with Progress(f"fetching from {source.kind}", len(files)) as progress:
        for name, checksum in files.items():
            path = locate(name)
            target = out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(PACKED_SUFFIXES):
                shutil.copyfile(path, target)
            else:
                target.write_bytes(_read_decompressed(path))
            if (actual := _compute_checksum(target, checksum)) != checksum:
                raise DataError(f"{name} has {_shorten(actual)}, expected {_shorten(checksum)} (truncated or altered)")
            progress.advance()


def _copy_matching(folder: Path, pattern: str, out: Path) -> None:
    """Copy the files of a folder that fit a pattern. Raises DataError if there is none."""
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not paths:
        raise DataError(f"no file in it fits the pattern '{pattern}'")
    with Progress("copying files", len(paths)) as progress:
        for path in paths:
            target = out / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            progress.advance()


def _compute_checksum(path: Path, like: str) -> str:
    """Return a file's sha256, or 'md5:' with its MD5 if `like` is such a checksum."""
    prefix, algorithm = (MD5, "md5") if like.startswith(MD5) else ("", "sha256")
    with path.open("rb") as file:
        return prefix + hashlib.file_digest(file, algorithm).hexdigest()


def _shorten(checksum: str) -> str:
    algorithm, _, digits = checksum.rpartition(":")
    return f"{algorithm or 'sha256'} {digits[:12]}…"


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


def _open_url(source: UrlSource, scratch: Path) -> Locate:
    """Return a function that downloads a file: its gzip file, or the file itself if there is none."""

    def locate(name: str) -> Path:
        path = scratch / Path(name).name
        address = f"{source.base.rstrip('/')}/{urllib.parse.quote(name)}"
        if name.endswith(PACKED_SUFFIXES):
            download(address, path)
            return path
        try:
            download(f"{address}.gz", path)
        except DataError as error:
            # Only an answer such as "Not Found" is worth a second request: a dead network costs a timeout each time.
            if not isinstance(error.__cause__, urllib.error.HTTPError):
                raise
            download(address, path)
        return path

    return locate
