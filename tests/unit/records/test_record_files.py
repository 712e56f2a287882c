"""Reading records: damage is detected, older schemas are upgraded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.errors import ArtifactError
from edgeproof.records import record_files


def write_record(directory: Path, **content: Any) -> Path:
    directory.mkdir(parents=True)
    np.savez_compressed(directory / "latencies.npz", call_ns=np.arange(100, dtype=np.uint64))
    (directory / "mlperf_log_detail.txt").write_text("a log")
    record_files.write_content(directory, {"verdict": "valid", "reasons": [], **content})
    return directory


# --- reading -------------------------------------------------------------------------------------------------------


def test_a_record_is_read_with_its_arrays(tmp_path: Path) -> None:
    record = record_files.read(write_record(tmp_path / "r", model="teacher"))
    assert record.content["model"] == "teacher"
    assert record.verdict == "valid"
    np.testing.assert_array_equal(record.read_array("latencies.npz", "call_ns"), np.arange(100))


def test_all_records_below_a_directory_are_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b/2", "a/x/1", "b/1"):
        write_record(tmp_path / name, name=name)
    assert [record.content["name"] for record in record_files.read_all(tmp_path)] == ["a/x/1", "b/1", "b/2"]


def test_unfinished_records_of_a_killed_session_are_not_read(tmp_path: Path) -> None:
    write_record(tmp_path / "local_onnx/1", name="whole")
    for leftover in (".local_onnx.part/1", "local_onnx/.2.part"):
        write_record(tmp_path / leftover, name="half")
    assert [record.content["name"] for record in record_files.read_all(tmp_path)] == ["whole"]


def test_a_missing_directory_has_no_records(tmp_path: Path) -> None:
    assert list(record_files.read_all(tmp_path / "nowhere")) == []


@pytest.mark.parametrize("text", [b"", b"{", b'{"schema": 1, "verdi', b"\xff\xfe", b"[]", b"null", b"1"])
def test_a_damaged_record_raises_with_the_next_step(tmp_path: Path, text: bytes) -> None:
    directory = write_record(tmp_path / "r")
    (directory / "record.json").write_bytes(text)
    with pytest.raises(ArtifactError, match="Measure again"):
        record_files.read(directory)


def test_a_record_that_is_cut_anywhere_raises(tmp_path: Path) -> None:
    directory = write_record(tmp_path / "r")
    whole = (directory / "record.json").read_bytes().rstrip()
    for length in range(0, len(whole), 7):
        (directory / "record.json").write_bytes(whole[:length])
        with pytest.raises(ArtifactError):
            record_files.read(directory)


def test_a_missing_record_raises(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="missing or damaged"):
        record_files.read(tmp_path)


@pytest.mark.parametrize("schema", [0, 4, "1", None, True, [1]])
def test_a_record_of_an_unknown_schema_raises_with_its_number(tmp_path: Path, schema: Any) -> None:
    directory = write_record(tmp_path / "r")
    content = json.loads((directory / "record.json").read_text()) | {"schema": schema}
    (directory / "record.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=re.escape(f"schema {schema}, this version reads 1 to 3")):
        record_files.read(directory)


def test_a_record_of_the_first_schema_is_upgraded_in_memory_only(tmp_path: Path) -> None:
    directory = write_record(tmp_path / "r", session=4, model="teacher")
    path = directory / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 1}))
    before = path.read_bytes()
    record = record_files.read(directory)
    assert (record.schema, record.content["schema"]) == (1, 3)
    assert record.content["commit"] is None
    assert (record.content["session_id"], record.content["attempt"]) == ("session 4", 0)
    assert record.content["model"] == "teacher"
    np.testing.assert_array_equal(record.read_array("latencies.npz", "call_ns"), np.arange(100))
    assert path.read_bytes() == before


def test_upgrading_keeps_the_session_id_and_attempt(tmp_path: Path) -> None:
    directory = write_record(tmp_path / "r", session=4, session_id="abc", attempt=2)
    path = directory / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 1}))
    assert [record_files.read(directory).content[key] for key in ("session_id", "attempt")] == ["abc", 2]


def test_damaged_records_are_listed_and_skipped_on_request(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_record(tmp_path / name, name=name)
    (tmp_path / "b/record.json").write_text("{")
    damaged: list[str] = []
    assert [record.content["name"] for record in record_files.read_all(tmp_path, damaged=damaged)] == ["a", "c"]
    assert len(damaged) == 1
    assert str(tmp_path / "b/record.json") in damaged[0]
    with pytest.raises(ArtifactError):
        list(record_files.read_all(tmp_path))


@pytest.mark.parametrize("harm", ["cut", "flip", "remove", "swap"])
def test_a_changed_array_raises(tmp_path: Path, harm: str) -> None:
    directory = write_record(tmp_path / "r")
    path = directory / "latencies.npz"
    content = path.read_bytes()
    if harm == "remove":
        path.unlink()
    elif harm == "swap":
        np.savez_compressed(path, call_ns=np.arange(1, 101, dtype=np.uint64))
    else:
        path.write_bytes(content[:-1] if harm == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"latencies\.npz is missing or damaged"):
        record_files.read(directory).read_array("latencies.npz", "call_ns")


def test_an_array_added_later_raises(tmp_path: Path) -> None:
    directory = write_record(tmp_path / "r")
    np.savez_compressed(directory / "outputs.npz", correct=np.ones(3, bool))
    with pytest.raises(ArtifactError, match=r"outputs\.npz"):
        record_files.read(directory).read_array("outputs.npz", "correct")


def test_a_record_lists_every_other_file_of_its_directory(tmp_path: Path) -> None:
    directory = write_record(tmp_path / "r")
    record_files.write_content(directory, {"verdict": "valid", "reasons": []})
    assert set(record_files.read(directory).content["files"]) == {"latencies.npz", "mlperf_log_detail.txt"}
