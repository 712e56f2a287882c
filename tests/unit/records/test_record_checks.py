"""Impossible and contradictory records are named and left out of the store, whatever their hashes say."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.cli import main
from edgeproof.core.errors import ArtifactError
from edgeproof.records import queries, record_checks, record_files, session_checks, store
from edgeproof.records.latencies import Latencies, count_inferences, read_latencies
from edgeproof.records.record import Record
from tests.support import record_trees

Arrays = dict[str, np.ndarray[Any, Any]]
CALLS = 100
LOG = {
    "result_query_count": CALLS,
    "generated_samples_per_query": 1,
    "result_50.00_percentile_latency_ns": 21_000,
    "result_99.00_percentile_latency_ns": 21_000,
}


def write(root: Path, log: dict[str, Any] | None = None, **changes: Any) -> Path:
    return record_trees.write(root, call_ns=np.full(CALLS, 20_000), log=LOG if log is None else log, **changes)


def change_arrays(directory: Path, change: Callable[[Arrays], Arrays]) -> None:
    """Rewrite the durations and renew the hash, as somebody does who knows the format."""
    with np.load(directory / "latencies.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez_compressed(directory / "latencies.npz", **change(arrays))
    renew_hashes(directory)


def renew_hashes(directory: Path) -> None:
    record_files.write_content(directory, record_files.read(directory).content)


def set_call(value: Any, dtype: Any = np.uint64) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, "call_ns": np.full(CALLS, value).astype(dtype)}


DAMAGE: dict[str, Callable[[Arrays], Arrays]] = {
    "negative": set_call(-5, np.int64),
    "negative as unsigned": set_call(2**64 - 5),
    "zero": set_call(0),
    "an hour": set_call(3_601 * 10**9),
    "not a number": set_call(math.nan, np.float64),
    "floating point": set_call(20_000, np.float64),
    "another shape": lambda arrays: {**arrays, "call_ns": arrays["call_ns"].reshape(10, 10)},
    "empty": lambda arrays: {name: array[:0] for name, array in arrays.items()},
    "fewer": lambda arrays: {name: array[:-1] for name, array in arrays.items()},
    "more": lambda arrays: {name: np.tile(array, 2) for name, array in arrays.items()},
    "one longer": lambda arrays: {**arrays, "invoke_ns": np.append(arrays["invoke_ns"], arrays["invoke_ns"][:1])},
    "without an array": lambda arrays: {"call_ns": arrays["call_ns"]},
    "invoke above call": lambda arrays: {**arrays, "invoke_ns": arrays["call_ns"] + np.uint64(1)},
    "overlapping": lambda arrays: {**arrays, "started_ns": arrays["started_ns"] // np.uint64(2)},
    "reversed": lambda arrays: {**arrays, "started_ns": arrays["started_ns"][::-1]},
    "halved": lambda arrays: {name: array // np.uint64(2) for name, array in arrays.items()},
    "doubled": lambda arrays: {name: array * np.uint64(2) for name, array in arrays.items()},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_impossible_durations_are_named_and_left_out_of_every_table(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "records"
    write(root)
    victim = write(root, process=1, harness_p50_ns=1000.0)
    assert store.refresh(root).damaged == []
    change_arrays(victim, DAMAGE[damage])
    command = ["query", "SELECT count(*) AS n FROM records", "--format", "csv", "--records", str(root)]
    assert main.run(command) == 1
    captured = capsys.readouterr()
    assert captured.out == "n\n1\n"
    assert str(victim) in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", b"x" * 100])
def test_a_file_that_holds_no_arrays_is_named(tmp_path: Path, content: bytes) -> None:
    victim = write(tmp_path / "records")
    (victim / "latencies.npz").write_bytes(content)
    renew_hashes(victim)
    state = store.refresh(tmp_path / "records")
    assert state.records == 0
    assert "latencies.npz holds no arrays that can be read" in state.damaged[0]


@pytest.mark.parametrize(
    "correct", [np.ones(9, bool), np.zeros(10, bool), np.ones((10, 1), bool), np.full(10, math.nan), np.ones(10)]
)
def test_hits_that_differ_from_the_recorded_count_are_named(tmp_path: Path, correct: np.ndarray[Any, Any]) -> None:
    root = tmp_path / "records"
    victim = record_trees.write(root, "accuracy", correct=[True] * 9 + [False])
    np.savez_compressed(victim / "evidence.npz", correct=correct)
    renew_hashes(victim)
    state = store.refresh(root)
    assert state.records == 0
    assert "evidence" in state.damaged[0]
    assert "is damaged: " in state.damaged[0]


def test_a_figure_that_differs_from_loadgens_log_is_named_with_both_values(tmp_path: Path) -> None:
    root = tmp_path / "records"
    victim = record_trees.write(root, "offline", log={"result_samples_per_second": 70.0})
    content = dict(record_files.read(victim).content)
    content["result"] = {**content["result"], "loadgen": {"result_samples_per_second": 140.0}}
    record_files.write_content(victim, content)
    state = store.refresh(root)
    assert state.records == 0
    assert "'result_samples_per_second' is 140.0 in record.json and 70.0 in mlperf_log_detail.txt" in state.damaged[0]


def read(directory: Path) -> Record:
    return record_files.read(directory)


def test_consistent_durations_are_read(tmp_path: Path) -> None:
    latencies = read_latencies(read(write(tmp_path)))
    assert latencies.span_ns == CALLS * 20_000
    assert record_checks.list_problems(read(tmp_path / "local_onnx/onnx/teacher.fp32/single_stream.0")) == []


def test_inferences_are_queries_times_their_samples() -> None:
    assert count_inferences({"result_query_count": 102, "generated_samples_per_query": 8}) == 816
    assert count_inferences({"result_query_count": 1}) is None


def make_latencies(call_ns: list[int], pause_ns: int = 0) -> Latencies:
    durations = np.array(call_ns, np.uint64)
    starts = np.concatenate([[0], np.cumsum(durations + np.uint64(pause_ns))[:-1]]).astype(np.uint64)
    return Latencies(durations, durations, starts)


@pytest.mark.parametrize(
    ("scenario", "log", "is_plausible"),
    [
        ("server", {"result_50.00_percentile_latency_ns": 10**9}, True),  # queries wait for one another
        ("server", {"result_50.00_percentile_latency_ns": 10_000}, False),
        ("server", {"result_completed_samples_per_sec": 40_000.0}, True),
        ("server", {"result_completed_samples_per_sec": 4_000.0}, False),
        ("offline", {"result_samples_per_second": 50_000.0}, True),
        ("offline", {"result_samples_per_second": 100_000.0}, False),
        ("offline", {"result_samples_per_second": 25_000.0}, False),
        ("multi_stream", {"result_50.00_percentile_per_query_latency_ns": 170_000}, True),
        ("multi_stream", {"result_50.00_percentile_per_query_latency_ns": 85_000}, False),
        ("multi_stream", {"result_50.00_percentile_per_query_latency_ns": 340_000}, False),
    ],
)
def test_the_raw_durations_of_each_scenario_must_agree_with_loadgen(
    tmp_path: Path, scenario: str, log: dict[str, Any], is_plausible: bool
) -> None:
    log = {**log, "generated_samples_per_query": 8, "result_query_count": 200}
    directory = record_trees.write(
        tmp_path, scenario, call_ns=np.full(1600, 20_000), log=log, verdict="invalid", harness_p50_ns=2000.0
    )
    assert (record_checks.list_problems(read(directory)) == []) == is_plausible


# --- whole sessions ------------------------------------------------------------------------------------------------


def read_session(root: Path) -> list[Record]:
    return list(record_files.read_all(root))


def test_a_whole_session_lacks_nothing(tmp_path: Path) -> None:
    for process in range(3):
        write(tmp_path, process=process, order=process, processes=3)
    assert session_checks.list_missing(tmp_path, read_session(tmp_path)) == []


def test_missing_processes_attempts_and_places_are_named(tmp_path: Path) -> None:
    write(tmp_path, process=1, order=2, processes=3)
    write(tmp_path, process=0, order=0, attempt=1)
    problems = "\n".join(session_checks.list_missing(tmp_path, read_session(tmp_path)))
    assert "onnx/teacher/fp32/single_stream has no record of process 2 (of 3)" in problems
    assert "single_stream, process 0, has no record of attempt 0" in problems
    assert "it has no record of place 1 in its order" in problems


def test_records_of_older_versions_have_no_order_and_no_number_of_processes(tmp_path: Path) -> None:
    write(tmp_path, process=0)
    assert session_checks.list_missing(tmp_path, read_session(tmp_path)) == []


# --- copies and links ----------------------------------------------------------------------------------------------


def test_a_session_that_was_copied_counts_in_no_table_until_one_copy_is_removed(tmp_path: Path) -> None:
    root = tmp_path / "records"
    write(root)
    write(root, device="board")
    assert store.refresh(root).records == 2
    shutil.copytree(root / "local_onnx", root / "copy")
    state = store.refresh(root)
    assert state.records == 1
    assert len(state.damaged) == 2
    problem = "the session 'local_onnx today' is in 2 directories: copy, local_onnx"
    assert all(problem in line for line in state.damaged)
    assert queries.ask("SELECT list(DISTINCT device) FROM records", root).fetchone() == (["board"],)
    with pytest.raises(ArtifactError, match="is in 2 directories"):
        list(record_files.read_all(root))
    shutil.rmtree(root / "copy")
    assert store.refresh(root).records == 2
    assert store.refresh(root).damaged == []


def test_sessions_of_schema_1_share_their_numbers_and_are_no_copies(tmp_path: Path) -> None:
    for device in ("local", "board"):
        write(tmp_path / "records", device=device, session_id="session 4")
    assert store.refresh(tmp_path / "records").records == 2


@pytest.mark.parametrize("kind", ["session", "record", "file", "record.json"])
def test_links_are_named_and_never_followed(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "records"
    directory = write(root)
    outside = tmp_path / "outside"
    source = {
        "session": root / "local_onnx",
        "record": directory,
        "file": directory / "latencies.npz",
        "record.json": directory / "record.json",
    }[kind]
    source.rename(outside)
    source.symlink_to(outside)
    state = store.refresh(root)
    assert state.records == 0
    assert len(state.damaged) == 1
    assert str(source) in state.damaged[0]
