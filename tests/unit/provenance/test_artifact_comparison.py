"""Comparing two artifacts' records: in pairs where rounds were interleaved, never across conditions unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.cli import main
from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance import artifact_comparison
from edgeproof.statistics.comparison import UnlikeConditions
from tests.support import record_trees


def write(root: Path, model: str, factor: float, processes: int = 8, **changes: Any) -> Path:
    """Records of an artifact whose calls take `factor` × 100 µs, with rounds that are slow and fast for all alike."""
    directory = root
    for process in range(processes):
        rng = np.random.default_rng([process, len(model)])
        moment = 1 + 0.2 * np.sin(process)
        durations = factor * moment * 100_000 * rng.lognormal(0, 0.02, 2000)
        directory = record_trees.write(root, model=model, process=process, call_ns=durations, **changes).parent
    return directory


def test_a_slowdown_smaller_than_what_all_rounds_share_is_found_in_pairs(tmp_path: Path) -> None:
    told = artifact_comparison.compare_artifacts(write(tmp_path, "a", 1.0), write(tmp_path, "bb", 1.03))
    assert "verdict: slower" in told
    assert "paired rounds" in told
    assert "p50 of B is 1.029" in told


def test_between_sessions_rounds_are_not_pairs_and_the_same_slowdown_is_not_shown(tmp_path: Path) -> None:
    a, b = write(tmp_path, "a", 1.0), write(tmp_path, "bb", 1.03, session_id="yesterday")
    told = artifact_comparison.compare_artifacts(a, b)
    assert "unpaired" in told
    assert "verdict: no difference shown" in told
    assert "would be found 4 times out of 5" in told


def test_like_and_like_are_not_different(tmp_path: Path) -> None:
    assert "no difference shown" in artifact_comparison.compare_artifacts(
        write(tmp_path, "a", 1.0), write(tmp_path, "bb", 1.0)
    )


def test_unlike_conditions_are_refused_and_when_allowed_stand_below_the_figures(tmp_path: Path) -> None:
    a = write(tmp_path, "a", 1.0)
    b = write(tmp_path, "bb", 1.0, result={"fingerprint": {"cpu": "Another"}, "threads": 4})
    with pytest.raises(UnlikeConditions, match=r"cpu: A Processor → Another; threads: 1 → 4.*--unlike"):
        artifact_comparison.compare_artifacts(a, b)
    told = artifact_comparison.compare_artifacts(a, b, allow_unlike=True)
    assert "unlike conditions: cpu: A Processor → Another" in told
    assert "unlike conditions: threads: 1 → 4" in told


def test_compliance_runs_are_not_runs_of_the_artifact(tmp_path: Path) -> None:
    directory = write(tmp_path, "a", 1.0)
    aside = record_trees.write(tmp_path / "aside", model="a", call_ns=np.full(2000, 5.0), compliance="TEST04")
    aside.rename(directory / "single_stream_test04.0")
    assert len(artifact_comparison.read_runs(directory).rounds) == 8


def test_another_runtimes_packages_are_what_is_compared(tmp_path: Path) -> None:
    def packages(name: str) -> dict[str, Any]:
        return {"fingerprint": {"cpu": "x", "packages": {name: {"version": "1"}}}}

    a = write(tmp_path, "a", 1.0, runtime="onnx", result=packages("onnxruntime"))
    b = write(tmp_path, "bb", 1.0, runtime="tflite", result=packages("litert"))
    assert "verdict" in artifact_comparison.compare_artifacts(a, b)
    other_engine = write(tmp_path, "ccc", 1.0, runtime="onnx", result=packages("onnxruntime-gpu"))
    with pytest.raises(UnlikeConditions, match="packages"):
        artifact_comparison.compare_artifacts(a, other_engine)


def test_a_run_that_was_refused_is_replaced_by_its_repetition_and_else_left_out(tmp_path: Path) -> None:
    directory = write(tmp_path, "a", 1.0, processes=4)
    for name, verdict in (("single_stream.7", "invalid"), ("single_stream.3.again1", "valid")):
        number = int(name.split(".")[1])
        written = record_trees.write(
            tmp_path / "aside", model="a", process=number, attempt=int("again" in name), verdict=verdict,
            call_ns=np.full(2000, 5.0), reasons=[] if verdict == "valid" else ["disturbed"],
        )  # fmt: skip
        written.rename(directory / name)
    side = artifact_comparison.read_runs(directory)
    assert sorted(side.rounds) == [0, 1, 2, 3]
    assert side.left_out == 1
    assert float(np.median(side.rounds[3])) == 5


@pytest.mark.parametrize("where", ["nowhere", "."])
def test_a_directory_without_one_artifacts_runs_is_refused_with_what_to_name(tmp_path: Path, where: str) -> None:
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
