"""List the content of a directory without following links."""

from __future__ import annotations

import os
from pathlib import Path

from edgeproof.core.regular_files import is_regular_file, list_content


def test_files_are_listed_and_links_and_pipes_are_named(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    (outside / "deep").mkdir(parents=True)
    (outside / "secret").write_bytes(b"x")
    (inside / "deep").mkdir(parents=True)
    for name in ("b", "deep/a", ".hidden"):
        (inside / name).write_bytes(b"")
    (inside / "deep/link").symlink_to(outside / "secret")
    (inside / "more").symlink_to(outside)
    (inside / "broken").symlink_to("nowhere")
    os.mkfifo(inside / "pipe")
    content = list_content(inside)
    assert content.files == (".hidden", "b", "deep/a")
    assert content.others == ("broken", "deep/link", "more", "pipe")


def test_an_empty_directory_has_no_content(tmp_path: Path) -> None:
    assert list_content(tmp_path).files == list_content(tmp_path).others == ()


def test_only_files_themselves_are_regular(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    assert {path.name for path in tmp_path.iterdir() if is_regular_file(path)} == {"file"}
