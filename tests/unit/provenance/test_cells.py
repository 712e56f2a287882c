"""Find cells by name: a unique name gives one cell, any other is refused with the cells that exist."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance import cells
from tests.support import record_trees


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return records of a teacher in two schemes, a student in one, and the null runtime."""
    root = tmp_path / "records"
    for model, scheme in (("teacher", "fp32"), ("teacher", "int8-static"), ("student", "fp32")):
        for process in range(2):
            record_trees.write(root, model=model, scheme=scheme, process=process, call_ns=np.full(100, 1000))
        record_trees.write(root, "accuracy", model=model, scheme=scheme, correct=[True])
    record_trees.write(root, runtime="null", session_of="onnx", call_ns=np.full(100, 10))
    return root


@pytest.mark.parametrize(
    "name", ["local/onnx/teacher/int8-static", "int8-static/teacher", "int8-static", "teacher int8-static onnx"]
)
def test_any_parts_that_are_unique_to_a_cell_name_it(root: Path, name: str) -> None:
    assert str(cells.find_cell(name, root).address) == "local/onnx/teacher/int8-static"


def test_a_directory_and_the_artifacts_hash_name_a_cell_too(root: Path) -> None:
    place = root / "local_onnx/onnx/student.fp32"
    assert cells.find_cell(str(place), root).address.model == "student"
    assert cells.find_cell(str(place / "accuracy.0"), root).address.model == "student"
    directory = record_trees.write(root, model="other", artifact={"sha256": "0123456789abcdef" * 4})
    assert directory.is_dir()
    assert cells.find_cell("01234567", root).address.model == "other"


def test_a_figure_at_the_end_selects_the_records_it_was_computed_from(root: Path) -> None:
    latency = cells.find_cell("student/fp32/p99_ns", root)
    assert latency.figure == "p99_ns"
    assert [record.directory.name for record in latency.select_figure_records()] == [
        "single_stream.0",
        "single_stream.1",
    ]
    accuracy = cells.find_cell("student/quality", root)
    assert [record.directory.name for record in accuracy.select_figure_records()] == ["accuracy.0"]
    assert len(cells.find_cell("student", root).select_figure_records()) == 3


@pytest.mark.parametrize(
    ("column", "key", "records"),
    [
        ("p50", "p50_ns", 2),
        ("engine_p50", "invoke_p50_ns", 2),
        ("speed_up", "speed_up", 2),
        ("load", "load_ns", 2),
        ("quality", "quality", 1),
        ("offline", "offline_samples_per_s", 0),
    ],
)
def test_a_figure_is_named_by_its_column_or_by_its_key(root: Path, column: str, key: str, records: int) -> None:
    for name in (column, key):
        assert len(cells.find_cell(f"student/fp32/{name}", root).select_figure_records()) == records


def test_the_former_name_of_a_figure_is_answered_with_the_new_one(root: Path) -> None:
    with pytest.raises(EdgeproofError, match="'accuracy' is now called 'quality'"):
        cells.find_cell("student/fp32/accuracy", root)


def test_a_model_called_like_a_figure_is_still_found(root: Path) -> None:
    record_trees.write(root, model="load", call_ns=np.full(100, 1000))
    cell = cells.find_cell("load", root)
    assert (cell.address.model, cell.figure) == ("load", None)


@pytest.mark.parametrize(("word", "nearest"), [("p5", "p50"), ("qality", "quality"), ("p99_n", "p99_ns")])
def test_a_misspelt_figure_is_refused_with_the_nearest_one_and_all_columns(root: Path, word: str, nearest: str) -> None:
    with pytest.raises(
        EdgeproofError, match=rf"no cell has '{word}'\. Did you mean '{nearest}'.*: quality, .*p50, p90"
    ):
        cells.find_cell(f"student/fp32/{word}", root)


def test_a_cell_has_the_records_of_its_last_session(root: Path) -> None:
    record_trees.write(
        root, model="student", session_of="later", session_id="later", measured_at="2027-01-01T00:00:00+00:00"
    )
    assert [record.identity.session_id for record in cells.find_cell("student", root).records] == ["later"]


def test_a_name_of_several_cells_is_refused_with_their_names(root: Path) -> None:
    with pytest.raises(EdgeproofError, match=r"'fp32' names 2 cells: local/onnx/student/fp32, local/onnx/teacher/fp32"):
        cells.find_cell("fp32", root)


def test_an_unknown_word_is_refused_with_the_nearest_known_one(root: Path) -> None:
    with pytest.raises(EdgeproofError, match=r"no cell has 'teached'\. Did you mean 'teacher'"):
        cells.find_cell("teached/fp32", root)
    with pytest.raises(EdgeproofError, match="no cell is named 'student/int8-static'"):
        cells.find_cell("student/int8-static", root)
    with pytest.raises(EdgeproofError, match="no cell is named ''"):
        cells.find_cell("", root)


def test_without_records_there_is_no_cell(tmp_path: Path) -> None:
    with pytest.raises(EdgeproofError, match="holds no records"):
        cells.find_cell("teacher", tmp_path)


def test_the_list_of_cells_has_each_cell_once_without_the_null_runtime(root: Path) -> None:
    assert list(map(str, cells.list_cells(root))) == [
        "local/onnx/student/fp32",
        "local/onnx/teacher/fp32",
        "local/onnx/teacher/int8-static",
    ]
