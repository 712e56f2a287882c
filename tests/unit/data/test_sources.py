"""A task's files from the first source that has them intact, and plain words about every source that has not."""

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
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.errors import DataError, EdgeproofError
from edgeproof.data import sources

CONTENT = {"images": b"pixels " * 1000, "labels": bytes(range(256))}
FILES = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


def folder(path: Path, **changed: bytes | None) -> dict[str, str]:
    """A folder source; `changed` replaces a file's content or, with None, leaves it out."""
    path.mkdir(parents=True)
    for name, content in {**CONTENT, **changed}.items():
        if content is not None:
            (path / name).write_bytes(content)
    return {"kind": "folder", "path": str(path)}


def fetched(into: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in into.iterdir()}


# --- folders -------------------------------------------------------------------------------------------------------


def test_plain_and_compressed_files_give_the_same_decompressed_content(tmp_path: Path) -> None:
    source = folder(tmp_path / "source", labels=None)
    (tmp_path / "source" / "labels.gz").write_bytes(gzip.compress(CONTENT["labels"]))
    assert sources.fetch("task", [source], FILES, tmp_path / "into") == []
    assert fetched(tmp_path / "into") == CONTENT


def test_data_is_accepted_whoever_compressed_it(tmp_path: Path) -> None:
    packed = {
        f"{name}.gz": gzip.compress(content, level, mtime=level)
        for level, (name, content) in enumerate(CONTENT.items(), 1)
    }
    source = folder(tmp_path / "source", images=None, labels=None, **packed)
    sources.fetch("task", [source], FILES, tmp_path / "into")
    assert fetched(tmp_path / "into") == CONTENT


def test_a_source_with_a_wrong_hash_is_passed_over_for_the_next_and_the_reason_told(tmp_path: Path) -> None:
    bad = folder(tmp_path / "bad", labels=b"altered")
    good = folder(tmp_path / "good")
    (reason,) = sources.fetch("task", [bad, good], FILES, tmp_path / "into")
    assert str(tmp_path / "bad") in reason
    assert "labels has sha256" in reason
    assert fetched(tmp_path / "into") == CONTENT


def test_the_first_source_that_works_is_the_last_one_asked(tmp_path: Path) -> None:
    never = {"kind": "url", "base": "gopher://never.asked.invalid"}
    assert sources.fetch("task", [folder(tmp_path / "good"), never], FILES, tmp_path / "into") == []


@given(st.integers(0, 10_000))
def test_a_gzip_file_cut_short_anywhere_is_never_taken_for_the_whole(cut: int) -> None:
    import tempfile

    whole = gzip.compress(CONTENT["labels"])
    with tempfile.TemporaryDirectory() as scratch:
        source = folder(Path(scratch, "source"), labels=None)
        Path(scratch, "source", "labels.gz").write_bytes(whole[: cut % len(whole)])
        with pytest.raises(DataError, match="labels"):
            sources.fetch("task", [source], FILES, Path(scratch, "into"))
        assert not Path(scratch, "into").exists()


@pytest.mark.parametrize("place", [0, 2, 12, 100, -8, -6, -1])
def test_a_gzip_file_with_a_flipped_bit_is_refused(tmp_path: Path, place: int) -> None:
    # The magic, the method, the content, its checksum and its length.
    damaged = bytearray(gzip.compress(CONTENT["labels"]))
    damaged[place] ^= 0x10
    source = folder(tmp_path / "source", labels=None)
    (tmp_path / "source" / "labels.gz").write_bytes(bytes(damaged))
    with pytest.raises(DataError, match="labels"):
        sources.fetch("task", [source], FILES, tmp_path / "into")


def test_a_file_that_is_missing_and_a_folder_that_is_missing_are_told_apart(tmp_path: Path) -> None:
    without = folder(tmp_path / "without", labels=None)
    nowhere = {"kind": "folder", "path": str(tmp_path / "nowhere")}
    with pytest.raises(DataError) as caught:
        sources.fetch("task", [without, nowhere], FILES, tmp_path / "into")
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  - ")]
    assert "no labels or labels.gz in" in lines[0]
    assert "no such folder" in lines[1]


def test_a_folder_may_be_named_by_an_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "source")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    sources.fetch("task", [{"kind": "folder", "path": "$DATA_ROOT/source"}], FILES, tmp_path / "into")
    assert fetched(tmp_path / "into") == CONTENT


def test_when_every_source_fails_the_message_names_each_and_the_study_that_needs_no_download(tmp_path: Path) -> None:
    into = folder(tmp_path / "into", labels=b"what was there before")
    asked = [
        {"kind": "folder", "path": str(tmp_path / "nowhere")},
        folder(tmp_path / "bad", images=b""),
        {"kind": "url", "base": "ftp://host.invalid/data"},
        {"kind": "package", "package": "no_such_package_anywhere", "path": "data"},
    ]
    with pytest.raises(DataError) as caught:
        sources.fetch("clothing", asked, FILES, tmp_path / "into")
    message = str(caught.value)
    assert "task 'clothing'" in message
    assert "make repro STUDY=digits" in message
    assert "conf/tasks/clothing.yaml" in message
    listed = [line for line in message.splitlines() if line.startswith("  - ")]
    assert [line.split()[1] for line in listed] == ["folder", "folder", "url", "package"]
    assert (Path(into["path"]) / "labels").read_bytes() == b"what was there before"


def test_a_full_disk_is_no_reason_to_try_the_next_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, second = folder(tmp_path / "good"), folder(tmp_path / "second")

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(EdgeproofError, match="No space left"):
        sources.fetch("task", [good, second], FILES, tmp_path / "into")
    assert not (tmp_path / "into").exists()


# --- addresses -----------------------------------------------------------------------------------------------------


class Answers(urllib.request.BaseHandler):
    """Answers http and https from memory, so that urllib's own machinery runs without a network."""

    handler_order = 100  # before urllib's own

    def __init__(self, answer: Callable[[str], bytes | int | Exception]) -> None:
        self.asked: list[str] = []
        self._answer = answer

    def http_open(self, request: urllib.request.Request) -> Any:
        self.asked.append(request.full_url)
        found = self._answer(request.full_url)
        if isinstance(found, Exception):
            raise found
        status, body = (found, b"") if isinstance(found, int) else (200, found)
        answer = urllib.response.addinfourl(io.BytesIO(body), Message(), request.full_url, status)
        answer.msg = "Not Found" if status == 404 else "OK"  # type: ignore[attr-defined]
        return answer

    https_open = http_open


@pytest.fixture
def served() -> Iterator[Callable[[Callable[[str], Any]], Answers]]:
    """Install a handler that answers instead of the network."""

    def install(answer: Callable[[str], Any]) -> Answers:
        handler = Answers(answer)
        urllib.request.install_opener(urllib.request.build_opener(handler))
        return handler

    yield install
    urllib.request.install_opener(None)  # type: ignore[arg-type]


Served = Callable[[Callable[[str], Any]], Answers]


def test_an_address_is_asked_for_each_compressed_file(tmp_path: Path, served: Served) -> None:
    handler = served(lambda url: gzip.compress(CONTENT[url.rpartition("/")[2].removesuffix(".gz")]))
    sources.fetch("task", [{"kind": "url", "base": "https://host.invalid/data/"}], FILES, tmp_path / "into")
    assert fetched(tmp_path / "into") == CONTENT
    assert handler.asked == ["https://host.invalid/data/images.gz", "https://host.invalid/data/labels.gz"]


@pytest.mark.parametrize(
    ("answer", "told"),
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
def test_whatever_an_address_answers_instead_of_the_data_the_next_source_is_tried(
    tmp_path: Path, served: Served, answer: Any, told: str
) -> None:
    served(lambda url: answer)
    (reason,) = sources.fetch(
        "task", [{"kind": "url", "base": "http://host.invalid"}, folder(tmp_path / "good")], FILES, tmp_path / "into"
    )
    assert told in reason
    assert "http://host.invalid" in reason
    assert fetched(tmp_path / "into") == CONTENT


def test_an_answer_that_breaks_off_in_the_middle_is_passed_over(tmp_path: Path, served: Served) -> None:
    handler = served(lambda url: b"")

    class BreaksOff(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise http.client.IncompleteRead(b"half")

    def broken(request: urllib.request.Request) -> Any:
        answer = urllib.response.addinfourl(BreaksOff(), Message(), request.full_url, 200)
        answer.msg = "OK"  # type: ignore[attr-defined]
        return answer

    handler.http_open = broken  # type: ignore[method-assign]
    asked = [{"kind": "url", "base": "http://host.invalid"}, folder(tmp_path / "good")]
    (reason,) = sources.fetch("task", asked, FILES, tmp_path / "into")
    assert "http://host.invalid" in reason


@pytest.mark.parametrize("base", ["ftp://host.invalid", "file:///etc", "/etc", "", "javascript:alert(1)", "httpx://a"])
def test_an_address_that_is_not_http_is_never_opened(tmp_path: Path, served: Served, base: str) -> None:
    handler = served(lambda url: b"")
    with pytest.raises(DataError, match="only http and https"):
        sources.fetch("task", [{"kind": "url", "base": base}], FILES, tmp_path / "into")
    assert handler.asked == []


@pytest.mark.parametrize("base", ["http://host.invalid:port", "http://", "http://host .invalid", "http://[::1"])
def test_an_address_that_is_malformed_is_passed_over(tmp_path: Path, base: str) -> None:
    # urllib itself refuses these before it opens a connection.
    asked = [{"kind": "url", "base": base}, folder(tmp_path / "good")]
    (reason,) = sources.fetch("task", asked, FILES, tmp_path / "into")
    assert reason.startswith(f"url {base}")


# --- Debian packages -----------------------------------------------------------------------------------------------

DEBIAN = {"kind": "debian", "package": "dataset-clothing", "path": "/usr/share/clothing"}


def test_a_machine_without_apt_passes_the_debian_source_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = folder(tmp_path / "good")
    monkeypatch.setenv("PATH", str(tmp_path))
    (reason,) = sources.fetch("task", [DEBIAN, good], FILES, tmp_path / "into")
    assert "dataset-clothing" in reason
    assert "apt-get is not on this machine" in reason


def tool(directory: Path, name: str, body: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!{sys.executable} -S\nimport os, sys\n{body}\n")
    (directory / name).chmod(0o755)


def test_a_debian_package_is_unpacked_beside_and_nothing_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "inside")
    log = tmp_path / "log"
    tool(
        tmp_path / "bin",
        "apt-get",
        f"open({str(log)!r}, 'a').write(' '.join(a for a in sys.argv[1:] if a[0] != '-') + '\\n')\n"
        "if 'download' in sys.argv: open('package_1.0_all.deb', 'w').close()",
    )
    tool(
        tmp_path / "bin",
        "dpkg-deb",
        "root = sys.argv[3] + '/usr/share'; os.makedirs(root)\n"
        f"os.symlink({str(tmp_path / 'inside')!r}, root + '/clothing')",
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    sources.fetch("task", [DEBIAN], FILES, tmp_path / "into")
    assert fetched(tmp_path / "into") == CONTENT
    assert log.read_text().splitlines() == ["update", "download dataset-clothing"]


def test_apts_last_word_is_the_reason_why_its_source_was_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = folder(tmp_path / "good")
    tool(tmp_path / "bin", "apt-get", "sys.stderr.write('W: warned\\nE: Unable to locate package\\n'); sys.exit(100)")
    tool(tmp_path / "bin", "dpkg-deb", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (reason,) = sources.fetch("task", [DEBIAN, good], FILES, tmp_path / "into")
    assert "apt-get failed: E: Unable to locate package" in reason


def test_apt_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = folder(tmp_path / "good")
    for name in ("apt-get", "dpkg-deb"):
        tool(tmp_path / "bin", name, "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def never(argv: list[str], **settings: Any) -> Any:
        raise subprocess.TimeoutExpired(argv, settings["timeout"])

    monkeypatch.setattr(subprocess, "run", never)
    (reason,) = sources.fetch("task", [DEBIAN, good], FILES, tmp_path / "into")
    assert "apt-get did not finish" in reason


# --- installed packages --------------------------------------------------------------------------------------------


def test_files_that_an_installed_package_ships_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "site" / "shipping" / "data")
    (tmp_path / "site" / "shipping" / "__init__.py").write_text("raise RuntimeError('never imported')\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    sources.fetch("task", [{"kind": "package", "package": "shipping", "path": "data"}], FILES, tmp_path / "into")
    assert fetched(tmp_path / "into") == CONTENT


@pytest.mark.parametrize("package", ["no_such_package_anywhere", "no_such_package_anywhere.data", "this"])
def test_a_package_that_is_not_installed_or_is_a_single_file_is_passed_over(tmp_path: Path, package: str) -> None:
    asked: list[Mapping[str, Any]] = [
        {"kind": "package", "package": package, "path": "data"},
        folder(tmp_path / "good"),
    ]
    (reason,) = sources.fetch("task", asked, FILES, tmp_path / "into")
    assert package in reason
    assert "make setup" in reason
