"""Atomic directories: a reader sees a whole directory or none, and meta.json reveals every change of a file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core import directories, file_locks, partial_paths
from edgeproof.core.errors import ArtifactError, EdgeproofError


def raise_no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def build(directory: Path, files: dict[str, bytes], **meta: Any) -> Path:
    with directories.write_atomically(directory) as out:
        for name, content in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(content)
        directories.write_meta(out, meta)
    return directory


def fill_half(directory: Path, error: BaseException) -> None:
    with directories.write_atomically(directory) as out:
        (out / "file").write_bytes(b"half")
        raise error


# --- write_atomically ----------------------------------------------------------------------------------------------


def test_a_finished_directory_replaces_all_files_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "made"
    build(target, {"old": b"1"})
    build(target, {"new": b"2"})
    assert directories.list_files(target) == ["new"]
    assert [path.name for path in target.parent.iterdir()] == ["made"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_while_writing_leaves_the_old_directory_and_no_trace_of_the_new_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = build(tmp_path / "made", {"file": b"old"})
    with pytest.raises(error):
        fill_half(target, error())
    assert (target / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_failure_while_writing_a_first_directory_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        fill_half(tmp_path / "made", RuntimeError())
    assert list(tmp_path.iterdir()) == []


def test_the_final_name_does_not_exist_while_the_directory_is_being_filled(tmp_path: Path) -> None:
    with directories.write_atomically(tmp_path / "made") as out:
        (out / "file").write_bytes(b"half")
        assert not (tmp_path / "made").exists()
    assert (tmp_path / "made" / "file").is_file()


def test_leftovers_of_a_killed_run_do_not_get_into_the_next_one(tmp_path: Path) -> None:
    with directories.write_atomically(tmp_path / "made") as out:
        leftover = out.name
    (tmp_path / leftover).mkdir()
    (tmp_path / leftover / "stale").write_bytes(b"from a killed run")
    build(tmp_path / "made", {"file": b"new"})
    assert directories.list_files(tmp_path / "made") == ["file"]


def test_a_full_disk_raises_one_error_that_names_the_directory_and_keeps_the_old_one(tmp_path: Path) -> None:
    target = build(tmp_path / "made", {"file": b"old"})
    with pytest.raises(EdgeproofError, match=r"made.*No space left on device") as caught:
        fill_half(target, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert "again" in str(caught.value)
    assert (target / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_disk_without_room_for_a_new_directory_raises_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "mkdir", raise_no_space)
    with pytest.raises(EdgeproofError, match="No space left"), directories.write_atomically(tmp_path / "made"):
        pytest.fail("there is no directory to fill")


def test_a_file_at_the_path_of_the_parent_directory_raises_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(EdgeproofError, match="could not write"),
        directories.write_atomically(tmp_path / "file" / "made"),
    ):
        pytest.fail("there is no directory to fill")


@pytest.mark.parametrize(
    ("failure", "expected"),
    [(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), EdgeproofError), (KeyboardInterrupt(), None)],
)
def test_the_old_directory_survives_when_the_new_one_cannot_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, expected: type[BaseException] | None
) -> None:
    target = build(tmp_path / "made", {"file": b"old"})

    def refuse_the_final_rename(real: Callable[..., Any]) -> Callable[..., Any]:
        def rename(source: Any, destination: Any, **kwargs: Any) -> Any:
            if Path(destination) == target and Path(source).name.endswith(".part"):
                raise failure
            return real(source, destination, **kwargs)

        return rename

    monkeypatch.setattr(partial_paths, "_exchange", lambda *_: False)  # as on a system that cannot exchange names
    monkeypatch.setattr(os, "rename", refuse_the_final_rename(os.rename))
    monkeypatch.setattr(os, "replace", refuse_the_final_rename(os.replace))
    with pytest.raises(expected or type(failure)):
        build(target, {"file": b"new"})
    assert (target / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_directory_that_is_held_while_another_writer_is_faster_is_removed_by_the_next_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_paths, "_exchange", lambda *_: False)
    target, rename = tmp_path / "made", Path.rename
    build(target, {"file": b"old"})
    lock = file_locks.lock_directory(target)

    def be_slower(path: Path, name: Path) -> Path:
        if name == target and not target.exists() and path.suffix == ".part":
            monkeypatch.setattr(Path, "rename", rename)
            target.mkdir()
            (target / "file").write_bytes(b"another writer's")
        return rename(path, name)

    monkeypatch.setattr(Path, "rename", be_slower)
    build(target, {"file": b"new"})
    assert (target / "file").read_bytes() == b"new"
    os.close(lock)
    build(target, {"file": b"newer"})
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_writers_of_one_directory_at_once_leave_one_whole_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(partial_paths, "_exchange", lambda *_: False)
    target = tmp_path / "made"

    def write(number: int) -> None:
        for _ in range(20):
            build(target, {name: str(number).encode() for name in ("a", "b", "c")})

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(write, range(8)))
    assert len({(target / name).read_bytes() for name in ("a", "b", "c")}) == 1
    build(target, {"a": b"last"})  # removes what a writer left because another one still held it
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_directory_exists_at_every_moment_while_it_is_replaced(tmp_path: Path) -> None:
    target = build(tmp_path / "made", {"file": b""})
    gaps = []

    def look() -> None:
        while not is_over.is_set():
            gaps.append(not os.access(target, os.R_OK))

    is_over = threading.Event()
    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(100):
        build(target, {"file": b""})
    is_over.set()
    reader.join()
    assert not any(gaps)


def test_a_directory_that_a_reader_holds_is_removed_by_the_next_writer_after_it(tmp_path: Path) -> None:
    target = build(tmp_path / "made", {"file": b"1"})
    reader = file_locks.share_directory(target)
    build(target, {"file": b"2"})
    assert sorted(os.listdir(reader)) == ["file", "meta.json"]  # noqa: PTH208 - a descriptor, not a path
    os.close(reader)
    build(target, {"file": b"3"})
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_directories_are_written_on_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(file_locks.fcntl, "flock", refuse)
    build(tmp_path / "made", {"file": b"1"})
    build(tmp_path / "made", {"file": b"2"})
    assert (tmp_path / "made/file").read_bytes() == b"2"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_directory_that_another_process_is_filling_is_not_a_leftover(tmp_path: Path) -> None:
    with directories.write_atomically(tmp_path / "made") as out:
        (out / "file").write_bytes(b"slow")
        build(tmp_path / "made", {"file": b"fast"})
        assert (out / "file").read_bytes() == b"slow"
    assert (tmp_path / "made" / "file").read_bytes() == b"slow"


# --- meta.json -----------------------------------------------------------------------------------------------------

names = st.text("abcdefgh.-_0123", min_size=1, max_size=12).filter(lambda name: set(name) - {"."} and name != "a.part")
contents = st.dictionaries(names, st.binary(max_size=200), min_size=1, max_size=4)


def test_a_meta_is_read_as_it_was_written_and_holds_the_sha256_of_every_file(tmp_path: Path) -> None:
    target = build(tmp_path / "made", {"a.bin": b"abc", "deep/b.bin": b""}, name="größe", options={"b": 1.5})
    meta = directories.read_meta(target)
    assert meta["name"] == "größe"
    assert meta["options"] == {"b": 1.5}
    assert meta["files"] == {
        # FIPS 180-2's example, and the hash of nothing.
        "a.bin": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "deep/b.bin": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }


@given(contents, st.data())
def test_a_changed_truncated_extended_or_removed_file_is_reported(files: dict[str, bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        target = build(Path(scratch, "made"), files)
        directories.read_meta(target)
        name = data.draw(st.sampled_from(sorted(files)))
        content = files[name]
        damage = data.draw(st.sampled_from(["remove", "grow"] + (["flip", "cut"] if content else [])))
        if damage == "remove":
            (target / name).unlink()
        elif damage == "grow":
            (target / name).write_bytes(content + b"\0")
        elif damage == "cut":
            (target / name).write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        else:
            place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
            (target / name).write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        with pytest.raises(ArtifactError, match="missing" if damage == "remove" else "damaged") as caught:
            directories.read_meta(target)
        assert name in str(caught.value)
        assert "dvc repro" in str(caught.value)


def test_a_directory_without_a_meta_is_reported_as_never_built(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"never built.*dvc repro"):
        directories.read_meta(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"{'a': 1}", b"\xff\xfe\x00", b'{"schema": 1, "fil', b"nul", b"[" * 200_000]
)
def test_a_meta_that_is_not_json_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "meta.json").write_bytes(text)
    with pytest.raises(ArtifactError, match="not JSON"):
        directories.read_meta(tmp_path)


@pytest.mark.parametrize("content", [{"schema": 0}, {"schema": 2}, {"schema": "1"}, {"schema": None}, {}, [], None, 1])
def test_a_meta_of_another_schema_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "meta.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="schema"):
        directories.read_meta(tmp_path)


@pytest.mark.parametrize(
    "content",
    [{"schema": 1}, {"schema": 1, "files": None}, {"schema": 1, "files": ["a"]}, {"schema": 1, "files": {"a": None}}],
)
def test_a_meta_without_a_list_of_files_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "meta.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError):
        directories.read_meta(tmp_path)


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(b"")
    with pytest.raises(ArtifactError):
        directories.read_meta(tmp_path / "made")


def test_files_are_verified_unless_verify_is_false(tmp_path: Path) -> None:
    target = build(tmp_path / "made", {"file": b"abc"}, name="x")
    (target / "file").write_bytes(b"abd")
    assert directories.read_meta(target, verify=False)["name"] == "x"
    with pytest.raises(ArtifactError):
        directories.read_meta(target)


# --- content_sha256 ------------------------------------------------------------------------------------------------

hashes = st.dictionaries(names, st.binary(max_size=8).map(lambda b: hashlib.sha256(b).hexdigest()), max_size=6)


@given(hashes, st.randoms(use_true_random=False))
def test_the_content_hash_does_not_depend_on_the_order_of_files_or_on_other_keys_of_the_meta(
    files: dict[str, str], shuffler: Any
) -> None:
    items = list(files.items())
    shuffler.shuffle(items)
    assert directories.content_sha256({"files": files, "name": "a"}) == directories.content_sha256(
        {"name": "b", "files": dict(items)}
    )


@given(hashes, hashes)
def test_two_content_hashes_are_equal_only_for_the_same_names_and_contents(
    a: dict[str, str], b: dict[str, str]
) -> None:
    assert (directories.content_sha256({"files": a}) == directories.content_sha256({"files": b})) == (a == b)


def test_the_content_hash_is_the_sha256_of_the_file_hashes_as_compact_sorted_json() -> None:
    expected = hashlib.sha256(b'{"a":"1","b":"2"}').hexdigest()
    assert directories.content_sha256({"files": {"b": "2", "a": "1"}}) == expected


# --- files ---------------------------------------------------------------------------------------------------------


def test_files_are_listed_sorted_with_forward_slashes_and_without_meta(tmp_path: Path) -> None:
    build(tmp_path / "made", {"z": b"", "sub/a": b"", "B": b""})
    (tmp_path / "made" / "empty").mkdir()
    assert directories.list_files(tmp_path / "made") == ["B", "sub/a", "z"]


def test_a_file_longer_than_one_chunk_has_the_sha256_of_all_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000  # 2.2 MiB
    (tmp_path / "long").write_bytes(content)
    assert directories.hash_file(tmp_path / "long") == hashlib.sha256(content).hexdigest()


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=6))
def test_json_is_the_same_text_for_any_order_of_keys(value: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        directories.write_json(Path(scratch, "a"), value)
        directories.write_json(Path(scratch, "b"), dict(reversed(value.items())))
        assert Path(scratch, "a").read_bytes() == Path(scratch, "b").read_bytes()
        assert json.loads(Path(scratch, "a").read_text(encoding="utf-8")) == value


def test_writers_of_one_file_at_once_leave_the_whole_file_of_one_of_them(tmp_path: Path) -> None:
    path = tmp_path / "runner.pyz"
    contents = [bytes([number]) * 300_000 for number in range(8)]
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(lambda content: [directories.write_bytes(path, content) for _ in range(10)], contents))
    assert path.read_bytes() in contents
    assert [entry.name for entry in tmp_path.iterdir()] == ["runner.pyz"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_a_value_that_json_cannot_hold_is_refused_and_the_old_file_kept(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "file.json"
    directories.write_json(path, {"old": 1})
    with pytest.raises((ValueError, TypeError)):
        directories.write_json(path, {"new": value})
    assert json.loads(path.read_text()) == {"old": 1}


def test_a_full_disk_keeps_the_old_file_and_leaves_no_partial_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    directories.write_text(path, "old")

    write = Path.write_bytes

    def write_half(self: Path, data: bytes) -> None:
        write(self, data[: len(data) // 2])
        raise_no_space()

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(EdgeproofError, match=r"No space left.*untouched"):
        directories.write_text(path, "new text")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
