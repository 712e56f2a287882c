"""Compare two artifacts by their records: in pairs within a session, and under like conditions only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.cli import main
from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance import artifact_comparison
from edgeproof.records.conditions import UnlikeConditions
from tests.support import record_trees


def write(root: Path, model: str, factor: float, processes: int = 8, **changes: Any) -> Path:
    """Write records of an artifact whose calls take `factor` × 100 µs. Processes are equally slow for all artifacts."""
    directory = root
    for process in range(processes):
        rng = np.random.default_rng([process, len(model)])
        moment = 1 + 0.2 * np.sin(process)
        durations = factor * moment * 100_000 * rng.lognormal(0, 0.02, 2000)
        directory = record_trees.write(root, model=model, process=process, call_ns=durations, **changes).parent
    return directory


def test_pairs_show_a_slowdown_that_is_smaller_than_the_spread_of_processes(tmp_path: Path) -> None:
    text = artifact_comparison.compare_artifacts(write(tmp_path, "a", 1.0), write(tmp_path, "bb", 1.03)).text
    assert "verdict: slower" in text
    assert "paired processes" in text
    assert "p50 of B is 1.029" in text


def test_processes_of_different_sessions_are_not_paired_and_show_less(tmp_path: Path) -> None:
    a, b = write(tmp_path, "a", 1.0), write(tmp_path, "bb", 1.03, session_id="yesterday")
    text = artifact_comparison.compare_artifacts(a, b).text
    assert "unpaired" in text
    assert "verdict: no difference shown" in text
    assert "would be found 4 times out of 5" in text


def test_a_comparison_with_a_repeated_process_is_unpaired(tmp_path: Path) -> None:
    a, b = write(tmp_path, "a", 1.0), write(tmp_path, "bb", 1.03)
    disturbed = a / "single_stream.3/record.json"
    disturbed.write_text(disturbed.read_text().replace('"verdict": "valid"', '"verdict": "invalid"'))
    durations = 100_000 * np.random.default_rng(9).lognormal(0, 0.02, 2000)
    again = record_trees.write(tmp_path / "aside", model="a", process=3, attempt=1, call_ns=durations)
    again.rename(a / "single_stream.3.again1")
    text = artifact_comparison.compare_artifacts(a, b).text
    assert "A: a fp32 on onnx, local, 8 processes, 1 were refused and repeated" in text
    assert "unpaired, because refused runs were repeated" in text


@pytest.mark.parametrize(("processes", "is_alone"), [(4, True), (5, True), (6, False)])
def test_the_output_says_when_students_t_decides_alone(tmp_path: Path, processes: int, is_alone: bool) -> None:
    # With n pairs Wilcoxon's smallest p-value is 2 / 2**n: 0.0625 for 5 and 0.03125 for 6.
    a, b = write(tmp_path, "a", 1.0, processes), write(tmp_path, "bb", 1.2, processes)
    text = artifact_comparison.compare_artifacts(a, b).text
    assert "verdict: slower" in text
    assert ("Student's t decides alone" in text) is is_alone
    assert ("measure at least 6 processes" in text) is is_alone


def test_equal_artifacts_show_no_difference(tmp_path: Path) -> None:
    report = artifact_comparison.compare_artifacts(write(tmp_path, "a", 1.0), write(tmp_path, "bb", 1.0))
    assert "no difference shown" in report.text
    assert (report.verdicts, report.left_out) == (["no difference shown"], 0)


def test_unlike_conditions_are_refused_or_listed_below_the_figures_when_allowed(tmp_path: Path) -> None:
    a = write(tmp_path, "a", 1.0)
    b = write(tmp_path, "bb", 1.0, result={"fingerprint": {"cpu": "Another"}, "threads": 4})
    with pytest.raises(UnlikeConditions, match=r"cpu: A Processor → Another; threads: 1 → 4.*--unlike"):
        artifact_comparison.compare_artifacts(a, b)
    text = artifact_comparison.compare_artifacts(a, b, allow_unlike=True).text
    assert "unlike conditions: cpu: A Processor → Another" in text
    assert "unlike conditions: threads: 1 → 4" in text


@pytest.mark.parametrize(
    ("ours", "theirs", "difference"),
    [
        ({"affinity": [0]}, {"affinity": [0, 1]}, r"affinity: \[0\] → \[0, 1\]"),
        ({"caches": {"L2 Unified": "1M"}}, {"caches": {"L2 Unified": "2M"}}, "caches.L2 Unified: 1M → 2M"),
        ({"thread_variables": {}}, {"thread_variables": {"OMP_NUM_THREADS": "4"}}, "OMP_NUM_THREADS: absent → 4"),
        ({}, {"memory_limit_bytes": 2**30}, "memory_limit_bytes: absent → 1073741824"),
        ({"cpu_flags": "sse avx2"}, {"cpu_flags": "avx2 sse avx512f"}, "cpu_flags: none → avx512f"),
    ],
)
def test_every_condition_that_can_change_a_time_stops_the_comparison(
    tmp_path: Path, ours: dict[str, Any], theirs: dict[str, Any], difference: str
) -> None:
    a = write(tmp_path, "a", 1.0, processes=1, result={"fingerprint": {"cpu": "x", **ours}})
    b = write(tmp_path, "bb", 1.0, processes=1, result={"fingerprint": {"cpu": "x", **theirs}})
    with pytest.raises(UnlikeConditions, match=difference):
        artifact_comparison.compare_artifacts(a, b)


def test_other_facts_of_a_device_are_listed_and_stop_nothing(tmp_path: Path) -> None:
    a = write(tmp_path, "a", 1.0, result={"fingerprint": {"cpu": "x", "serial_number": "1"}})
    b = write(tmp_path, "bb", 1.0, result={"fingerprint": {"cpu": "x", "serial_number": "2"}})
    assert "also different: serial_number: 1 → 2" in artifact_comparison.compare_artifacts(a, b).text


def test_packages_that_two_runtimes_share_must_be_equal(tmp_path: Path) -> None:
    def fingerprint(engine: str, loadgen: str) -> dict[str, Any]:
        return {"cpu": "x", "packages": {engine: {"version": "1"}, "mlcommons-loadgen": {"version": loadgen}}}

    a = write(tmp_path, "a", 1.0, runtime="onnx", result={"fingerprint": fingerprint("onnxruntime", "6.0")})
    b = write(tmp_path, "bb", 1.0, runtime="tflite", result={"fingerprint": fingerprint("litert", "6.1")})
    with pytest.raises(UnlikeConditions, match=r"packages\.mlcommons-loadgen: 6\.0 → 6\.1") as refused:
        artifact_comparison.compare_artifacts(a, b)
    assert "litert" not in str(refused.value)


def test_compliance_runs_are_not_compared(tmp_path: Path) -> None:
    directory = write(tmp_path, "a", 1.0)
    aside = record_trees.write(tmp_path / "aside", model="a", call_ns=np.full(2000, 5.0), compliance="TEST04")
    aside.rename(directory / "single_stream_test04.0")
    assert len(artifact_comparison.read_runs(directory).durations_ns) == 8


def test_packages_that_only_one_of_two_runtimes_has_never_stop_a_comparison(tmp_path: Path) -> None:
    def packages(name: str) -> dict[str, Any]:
        return {"fingerprint": {"cpu": "x", "packages": {name: {"version": "1"}}}}

    a = write(tmp_path, "a", 1.0, runtime="onnx", result=packages("onnxruntime"))
    b = write(tmp_path, "bb", 1.0, runtime="tflite", result=packages("litert"))
    assert "verdict" in artifact_comparison.compare_artifacts(a, b).text
    other_engine = write(tmp_path, "ccc", 1.0, runtime="onnx", result=packages("onnxruntime-gpu"))
    with pytest.raises(UnlikeConditions, match="packages"):
        artifact_comparison.compare_artifacts(a, other_engine)


def test_a_refused_run_is_replaced_by_its_repetition_or_left_out_and_counted(tmp_path: Path) -> None:
    directory = write(tmp_path, "a", 1.0, processes=4)
    for name, verdict in (("single_stream.7", "invalid"), ("single_stream.3.again1", "valid")):
        number = int(name.split(".")[1])
        written = record_trees.write(
            tmp_path / "aside", model="a", process=number, attempt=int("again" in name), verdict=verdict,
            call_ns=np.full(2000, 5.0), reasons=[] if verdict == "valid" else ["disturbed"],
        )  # fmt: skip
        written.rename(directory / name)
    runs = artifact_comparison.read_runs(directory)
    assert sorted(runs.durations_ns) == [0, 1, 2, 3]
    assert runs.refused == 1
    assert float(np.median(runs.durations_ns[3])) == 5


@pytest.mark.parametrize("where", ["nowhere", "."])
def test_a_directory_without_runs_of_exactly_one_artifact_is_refused_with_an_example(
    tmp_path: Path, where: str
) -> None:
    write(tmp_path, "a", 1.0, processes=1)
    write(tmp_path, "bb", 1.0, processes=1)
    with pytest.raises(EdgeproofError, match=r"results/records/<session>/<runtime>"):
        artifact_comparison.compare_artifacts(tmp_path / where, tmp_path)


def test_the_command_prints_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path, "a", 1.0), write(tmp_path, "bb", 2.0)
    assert main.run(["compare", str(a), str(b), "--percent", "90", "--margin", "0.05"]) == 0
    printed = capsys.readouterr().out
    assert "p90 of B is 2.0" in printed
    assert "verdict: slower" in printed


@pytest.mark.parametrize("options", [["--percent", "100"], ["--percent", "x"], ["--margin", "-1"], ["--margin", "1"]])
def test_values_out_of_range_are_refused_by_the_command(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.run(["compare", "a", "b", *options])
    assert ended.value.code == 2
    assert options[0] in capsys.readouterr().err
