"""Fetching a task's files from the first source that has them intact, with a reason for every skipped source."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import io
import os
import subprocess
import sys
import urllib.error
import urllib.request
import urllib.response
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.config.params import DebianSource, FolderSource, PackageSource, Source, UrlSource
from edgeproof.core.errors import DataError, EdgeproofError
from edgeproof.data import sources

CONTENT = {"images": b"pixels " * 1000, "labels": bytes(range(256))}
FILES = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


def folder(path: Path, **changes: bytes | None) -> FolderSource:
    """Return a folder source. `changes` replaces the content of files; None leaves a file out."""
    path.mkdir(parents=True)
    for name, content in {**CONTENT, **changes}.items():
        if content is not None:
            (path / name).write_bytes(content)
    return FolderSource(kind="folder", path=str(path))


def read_files(into: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in into.iterdir()}


# --- folders -------------------------------------------------------------------------------------------------------


def test_compressed_files_are_decompressed_and_plain_ones_copied(tmp_path: Path) -> None:
    source = folder(tmp_path / "source", labels=None)
    (tmp_path / "source" / "labels.gz").write_bytes(gzip.compress(CONTENT["labels"]))
    assert sources.fetch("task", [source], FILES, tmp_path / "into") == []
    assert read_files(tmp_path / "into") == CONTENT


def test_data_is_accepted_with_any_compression(tmp_path: Path) -> None:
    packed = {
        f"{name}.gz": gzip.compress(content, level, mtime=level)
        for level, (name, content) in enumerate(CONTENT.items(), 1)
    }
    source = folder(tmp_path / "source", images=None, labels=None, **packed)
    sources.fetch("task", [source], FILES, tmp_path / "into")
    assert read_files(tmp_path / "into") == CONTENT


def test_a_source_with_a_wrong_hash_is_skipped_with_a_reason(tmp_path: Path) -> None:
    bad = folder(tmp_path / "bad", labels=b"altered")
    good = folder(tmp_path / "good")
    (reason,) = sources.fetch("task", [bad, good], FILES, tmp_path / "into")
    assert str(tmp_path / "bad") in reason
    assert "labels has sha256" in reason
    assert read_files(tmp_path / "into") == CONTENT


def test_sources_after_the_first_working_one_are_not_used(tmp_path: Path) -> None:
    unused = UrlSource(kind="url", base="gopher://never.asked.invalid")
    assert sources.fetch("task", [folder(tmp_path / "good"), unused], FILES, tmp_path / "into") == []


@given(st.integers(0, 10_000))
def test_a_truncated_gzip_file_is_a_data_error(cut: int) -> None:
    import tempfile

    whole = gzip.compress(CONTENT["labels"])
    with tempfile.TemporaryDirectory() as scratch:
        source = folder(Path(scratch, "source"), labels=None)
        Path(scratch, "source", "labels.gz").write_bytes(whole[: cut % len(whole)])
        with pytest.raises(DataError, match="labels"):
            sources.fetch("task", [source], FILES, Path(scratch, "into"))
        assert not Path(scratch, "into").exists()


@pytest.mark.parametrize("place", [0, 2, 12, 100, -8, -6, -1])
def test_a_gzip_file_with_a_flipped_bit_is_a_data_error(tmp_path: Path, place: int) -> None:
    # The places are in the magic number, the method, the content, its checksum and its length.
    damaged = bytearray(gzip.compress(CONTENT["labels"]))
    damaged[place] ^= 0x10
    source = folder(tmp_path / "source", labels=None)
    (tmp_path / "source" / "labels.gz").write_bytes(bytes(damaged))
    with pytest.raises(DataError, match="labels"):
        sources.fetch("task", [source], FILES, tmp_path / "into")


def test_a_missing_file_and_a_missing_folder_have_different_reasons(tmp_path: Path) -> None:
    without = folder(tmp_path / "without", labels=None)
    nowhere = FolderSource(kind="folder", path=str(tmp_path / "nowhere"))
    with pytest.raises(DataError) as failure:
        sources.fetch("task", [without, nowhere], FILES, tmp_path / "into")
    lines = [line for line in str(failure.value).splitlines() if line.startswith("  - ")]
    assert "no labels or labels.gz in" in lines[0]
    assert "no such folder" in lines[1]


def test_a_folder_can_be_given_by_an_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "source")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    sources.fetch("task", [FolderSource(kind="folder", path="$DATA_ROOT/source")], FILES, tmp_path / "into")
    assert read_files(tmp_path / "into") == CONTENT


def test_a_folder_of_the_project_is_found_from_the_worktree_of_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "data" / "mine")
    worktree = tmp_path / ".edgeproof" / "studies" / "other"
    worktree.mkdir(parents=True)
    monkeypatch.chdir(worktree)
    sources.fetch("task", [FolderSource(kind="folder", path="data/mine")], FILES, tmp_path / "into")
    assert read_files(tmp_path / "into") == CONTENT


def test_if_every_source_fails_the_error_lists_all_and_the_study_without_a_download(tmp_path: Path) -> None:
    into = folder(tmp_path / "into", labels=b"earlier content")
    candidates: list[Source] = [
        FolderSource(kind="folder", path=str(tmp_path / "nowhere")),
        folder(tmp_path / "bad", images=b""),
        UrlSource(kind="url", base="ftp://host.invalid/data"),
        PackageSource(kind="package", package="no_such_package_anywhere", path="data"),
    ]
    with pytest.raises(DataError) as failure:
        sources.fetch("clothing", candidates, FILES, tmp_path / "into")
    message = str(failure.value)
    assert "task 'clothing'" in message
    assert "make repro STUDY=digits" in message
    assert "conf/tasks/clothing.yaml" in message
    listed = [line for line in message.splitlines() if line.startswith("  - ")]
    assert [line.split()[1] for line in listed] == ["folder", "folder", "url", "package"]
    assert (Path(into.path) / "labels").read_bytes() == b"earlier content"


def test_a_full_disk_ends_the_search_for_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, second = folder(tmp_path / "good"), folder(tmp_path / "second")

    def fail(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(EdgeproofError, match="No space left"):
        sources.fetch("task", [good, second], FILES, tmp_path / "into")
    assert not (tmp_path / "into").exists()


# --- addresses -----------------------------------------------------------------------------------------------------


class FakeServer(urllib.request.BaseHandler):
    """Answers http and https requests from memory, so that urllib runs without a network."""

    handler_order = 100  # before urllib's own

    def __init__(self, answer: Callable[[str], bytes | int | Exception]) -> None:
        self.addresses: list[str] = []
        self._answer = answer

    def http_open(self, request: urllib.request.Request) -> Any:
        self.addresses.append(request.full_url)
        content = self._answer(request.full_url)
        if isinstance(content, Exception):
            raise content
        status, body = (content, b"") if isinstance(content, int) else (200, content)
        answer = urllib.response.addinfourl(io.BytesIO(body), Message(), request.full_url, status)
        answer.msg = "Not Found" if status == 404 else "OK"  # type: ignore[attr-defined]
        return answer

    https_open = http_open


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[str], Any]], FakeServer]]:
    """Return a function that replaces the network by a handler with the given answers."""

    def install(answer: Callable[[str], Any]) -> FakeServer:
        handler = FakeServer(answer)
        urllib.request.install_opener(urllib.request.build_opener(handler))
        return handler

    yield install
    urllib.request.install_opener(None)  # type: ignore[arg-type]


Serve = Callable[[Callable[[str], Any]], FakeServer]


def test_a_url_source_requests_each_compressed_file(tmp_path: Path, serve: Serve) -> None:
    handler = serve(lambda url: gzip.compress(CONTENT[url.rpartition("/")[2].removesuffix(".gz")]))
    sources.fetch("task", [UrlSource(kind="url", base="https://host.invalid/data/")], FILES, tmp_path / "into")
    assert read_files(tmp_path / "into") == CONTENT
    assert handler.addresses == ["https://host.invalid/data/images.gz", "https://host.invalid/data/labels.gz"]


def test_a_file_that_the_server_does_not_compress_is_requested_as_it_is(tmp_path: Path, serve: Serve) -> None:
    handler = serve(lambda url: 404 if url.endswith(".gz") else CONTENT[url.rpartition("/")[2]])
    sources.fetch("task", [UrlSource(kind="url", base="https://host.invalid/data")], FILES, tmp_path / "into")
    assert read_files(tmp_path / "into") == CONTENT
    assert handler.addresses[:2] == ["https://host.invalid/data/images.gz", "https://host.invalid/data/images"]


def test_a_dead_network_is_asked_once_for_a_file(tmp_path: Path, serve: Serve) -> None:
    handler = serve(lambda url: TimeoutError("timed out"))
    with pytest.raises(DataError, match="timed out"):
        sources.fetch("task", [UrlSource(kind="url", base="https://host.invalid")], FILES, tmp_path / "into")
    assert handler.addresses == ["https://host.invalid/images.gz"]


@pytest.mark.parametrize(
    ("answer", "reason_part"),
    [
        (404, "Not Found"),
        (b"<html>Welcome to the hotel's network</html>", "sha256"),
        (gzip.compress(CONTENT["images"])[:-20], "damaged gzip"),
        (urllib.error.URLError("Name or service not known"), "Name or service not known"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "reset by peer"),
        (http.client.RemoteDisconnected("Remote end closed connection"), "Remote end closed"),
        (http.client.BadStatusLine("SSH-2.0-OpenSSH"), "SSH-2.0-OpenSSH"),
    ],
    ids=["missing", "captive portal", "cut short", "no such host", "too slow", "reset", "disconnected", "not http"],
)
def test_a_url_without_the_data_is_skipped_with_a_reason(
    tmp_path: Path, serve: Serve, answer: Any, reason_part: str
) -> None:
    serve(lambda url: answer)
    (reason,) = sources.fetch(
        "task", [UrlSource(kind="url", base="http://host.invalid"), folder(tmp_path / "good")], FILES, tmp_path / "into"
    )
    assert reason_part in reason
    assert "http://host.invalid" in reason
    assert read_files(tmp_path / "into") == CONTENT


def test_a_url_whose_answer_is_incomplete_is_skipped(tmp_path: Path, serve: Serve) -> None:
    handler = serve(lambda url: b"")

    class BrokenStream(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise http.client.IncompleteRead(b"half")

    def answer_partly(request: urllib.request.Request) -> Any:
        answer = urllib.response.addinfourl(BrokenStream(), Message(), request.full_url, 200)
        answer.msg = "OK"  # type: ignore[attr-defined]
        return answer

    handler.http_open = answer_partly  # type: ignore[method-assign]
    candidates: list[Source] = [UrlSource(kind="url", base="http://host.invalid"), folder(tmp_path / "good")]
    (reason,) = sources.fetch("task", candidates, FILES, tmp_path / "into")
    assert "http://host.invalid" in reason


@pytest.mark.parametrize("base", ["ftp://host.invalid", "file:///etc", "/etc", "", "javascript:alert(1)", "httpx://a"])
def test_an_address_that_is_not_http_is_not_opened(tmp_path: Path, serve: Serve, base: str) -> None:
    handler = serve(lambda url: b"")
    with pytest.raises(DataError, match="only http and https"):
        sources.fetch("task", [UrlSource(kind="url", base=base)], FILES, tmp_path / "into")
    assert handler.addresses == []


@pytest.mark.parametrize("base", ["http://host.invalid:port", "http://", "http://host .invalid", "http://[::1"])
def test_a_malformed_address_is_skipped(tmp_path: Path, base: str) -> None:
    # urllib rejects these before it opens a connection.
    candidates: list[Source] = [UrlSource(kind="url", base=base), folder(tmp_path / "good")]
    (reason,) = sources.fetch("task", candidates, FILES, tmp_path / "into")
    assert reason.startswith(f"url {base}")


# --- Debian packages -----------------------------------------------------------------------------------------------

DEBIAN = DebianSource(kind="debian", package="dataset-clothing", path="/usr/share/clothing")


def test_a_debian_source_is_skipped_on_a_machine_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = folder(tmp_path / "good")
    monkeypatch.setenv("PATH", str(tmp_path))
    (reason,) = sources.fetch("task", [DEBIAN, good], FILES, tmp_path / "into")
    assert "dataset-clothing" in reason
    assert "apt-get is not on this machine" in reason


def write_program(directory: Path, name: str, body: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!{sys.executable} -S\nimport os, sys\n{body}\n")
    (directory / name).chmod(0o755)


def test_a_debian_package_is_unpacked_but_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "inside")
    log = tmp_path / "log"
    write_program(
        tmp_path / "bin",
        "apt-get",
        f"open({str(log)!r}, 'a').write(' '.join(a for a in sys.argv[1:] if a[0] != '-') + '\\n')\n"
        "if 'download' in sys.argv: open('package_1.0_all.deb', 'w').close()",
    )
    write_program(
        tmp_path / "bin",
        "dpkg-deb",
        "root = sys.argv[3] + '/usr/share'; os.makedirs(root)\n"
        f"os.symlink({str(tmp_path / 'inside')!r}, root + '/clothing')",
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    sources.fetch("task", [DEBIAN], FILES, tmp_path / "into")
    assert read_files(tmp_path / "into") == CONTENT
    assert log.read_text().splitlines() == ["update", "download dataset-clothing"]


def test_the_last_message_of_apt_is_the_reason_for_skipping_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = folder(tmp_path / "good")
    write_program(
        tmp_path / "bin", "apt-get", "sys.stderr.write('W: warned\\nE: Unable to locate package\\n'); sys.exit(100)"
    )
    write_program(tmp_path / "bin", "dpkg-deb", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (reason,) = sources.fetch("task", [DEBIAN, good], FILES, tmp_path / "into")
    assert "apt-get failed: E: Unable to locate package" in reason


def test_apt_is_stopped_after_a_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = folder(tmp_path / "good")
    for name in ("apt-get", "dpkg-deb"):
        write_program(tmp_path / "bin", name, "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def time_out(argv: list[str], **settings: Any) -> Any:
        raise subprocess.TimeoutExpired(argv, settings["timeout"])

    monkeypatch.setattr(subprocess, "run", time_out)
    (reason,) = sources.fetch("task", [DEBIAN, good], FILES, tmp_path / "into")
    assert "apt-get did not finish" in reason


# --- installed packages --------------------------------------------------------------------------------------------


def test_files_in_an_installed_package_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "site" / "shipping" / "data")
    (tmp_path / "site" / "shipping" / "__init__.py").write_text("raise RuntimeError('never imported')\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    sources.fetch("task", [PackageSource(kind="package", package="shipping", path="data")], FILES, tmp_path / "into")
    assert read_files(tmp_path / "into") == CONTENT


@pytest.mark.parametrize("package", ["no_such_package_anywhere", "no_such_package_anywhere.data", "this"])
def test_a_package_that_is_not_installed_or_is_a_single_file_is_skipped(tmp_path: Path, package: str) -> None:
    candidates: list[Source] = [
        PackageSource(kind="package", package=package, path="data"),
        folder(tmp_path / "good"),
    ]
    (reason,) = sources.fetch("task", candidates, FILES, tmp_path / "into")
    assert package in reason
    assert "make setup" in reason
