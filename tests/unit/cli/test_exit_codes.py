"""The exit codes of `bench` and `compare`, which CI jobs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.bench import external, external_results
from edgeproof.bench.external_results import ExternalResults
from edgeproof.cli import main
from edgeproof.core.errors import ConfigError
from tests.support import record_trees
from tests.support.project import ROOT

# --- bench ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty directory of records, which `edgeproof bench` finds as if it had just measured them."""
    monkeypatch.chdir(ROOT)
    records = tmp_path / "records"
    records.mkdir()

    def measure_files(paths: object, options: external.BenchOptions) -> ExternalResults:
        if options.interleaved:
            return external_results.write_interleaved_results(tmp_path, tmp_path)
        return external_results.write_results(
            tmp_path, tmp_path, name="x", artifacts={"a": ["as-is"]}, device="local", runtimes=["onnx"]
        )

    monkeypatch.setattr(external, "measure_files", measure_files)
    return records


def write_run(records: Path, process: int = 0, scenario: str = "single_stream", **changes: Any) -> Path:
    durations = None if changes.get("verdict") == "error" else np.full(500, 1000 + process)
    return record_trees.write(
        records, scenario, model="a", scheme="as-is", process=process, call_ns=durations, **changes
    )


REFUSED = {"verdict": "invalid", "reasons": ["busy"]}


def test_valid_latencies_exit_with_zero(bench_records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(bench_records)
    assert main.run(["bench", "a.onnx", "--fail-on", "refused"]) == 0
    assert capsys.readouterr().err == ""


def test_a_benchmark_whose_latencies_are_all_refused_exits_with_one(
    bench_records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for process in range(2):
        write_run(bench_records, process, **REFUSED)
    assert main.run(["bench", "a.onnx"]) == 1
    assert capsys.readouterr().err == "failed: no artifact has a valid latency\n"


def test_a_benchmark_of_unsupported_artifacts_only_exits_with_one(bench_records: Path) -> None:
    record_trees.write_unsupported(bench_records, "no kernels", model="a", scheme="as-is")
    assert main.run(["bench", "a.onnx"]) == 1


def test_an_error_of_any_run_exits_with_one(bench_records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(bench_records)
    write_run(bench_records, scenario="offline", verdict="error", reasons=["crashed"])
    assert main.run(["bench", "a.onnx"]) == 1
    assert capsys.readouterr().err == "failed: 1 run(s) ended with an error\n"


def test_a_refused_run_beside_a_valid_latency_fails_only_if_asked_for(
    bench_records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(bench_records)
    write_run(bench_records, scenario="offline", **REFUSED)
    assert main.run(["bench", "a.onnx"]) == 0
    assert main.run(["bench", "a.onnx", "--fail-on", "refused"]) == 1
    assert capsys.readouterr().err == "failed: 1 run(s) were refused (--fail-on refused)\n"


def test_a_refused_attempt_that_was_repeated_successfully_does_not_count(bench_records: Path) -> None:
    first = write_run(bench_records, **REFUSED)
    first.rename(first.with_name("first"))
    second = write_run(bench_records, attempt=1)
    second.rename(second.with_name("single_stream.0.again1"))
    (second.parent / "first").rename(first)
    assert main.run(["bench", "a.onnx", "--fail-on", "refused"]) == 0


@pytest.mark.parametrize(
    ("log_ratio", "fail_on", "code"),
    [
        (0.1, [], 0),
        (0.1, ["--fail-on", "slower"], 1),
        (-0.1, ["--fail-on", "slower"], 0),
        (-0.1, ["--fail-on", "different"], 1),
        (0.0, ["--fail-on", "different,refused"], 0),
    ],
)
def test_interleaved_runs_fail_on_the_verdict_that_was_named(
    bench_records: Path, log_ratio: float, fail_on: list[str], code: int
) -> None:
    for process in range(8):
        noise = 0.001 * (-1) ** process
        record_trees.write_interleaved(bench_records, log_ratio + noise, process, model="new")
    assert main.run(["bench", "good.onnx", "new.onnx", "--interleaved", *fail_on]) == code


def test_interleaved_runs_without_a_valid_one_exit_with_one(bench_records: Path) -> None:
    record_trees.write_interleaved(bench_records, 0.0, 0, model="new", **REFUSED)
    assert main.run(["bench", "good.onnx", "new.onnx", "--interleaved"]) == 1


def test_a_verdict_of_comparisons_needs_interleaved_runs(bench_records: Path) -> None:
    with pytest.raises(ConfigError, match="need --interleaved"):
        main.run(["bench", "a.onnx", "--fail-on", "slower"])


# --- compare -------------------------------------------------------------------------------------------------------


def write_artifact(root: Path, model: str, factor: float, processes: int = 8, refused: int = 0) -> str:
    rng = np.random.default_rng(len(model))
    for process in range(processes):
        durations = 100_000 * factor * np.exp(rng.normal(0, 0.002)) * np.exp(rng.normal(0, 0.01, 300))
        record_trees.write(root, model=model, process=process, call_ns=durations)
    for process in range(processes, processes + refused):
        record_trees.write(root, model=model, process=process, **REFUSED)
    return str(root / "local_onnx/onnx" / f"{model}.fp32")


@pytest.mark.parametrize(
    ("factor", "fail_on", "code"),
    [
        (1.2, None, 0),
        (1.2, "slower", 1),
        (1.2, "different", 1),
        (1.2, "refused", 0),
        (0.8, "slower", 0),
        (0.8, "different,refused", 1),
        (1.0, "slower,different,refused", 0),
    ],
)
def test_compare_exits_with_one_for_the_results_that_were_named(
    tmp_path: Path, factor: float, fail_on: str | None, code: int
) -> None:
    names = [write_artifact(tmp_path, "a", 1.0), write_artifact(tmp_path, "bb", factor)]
    options = [] if fail_on is None else ["--fail-on", fail_on]
    assert main.run(["compare", *names, *options]) == code


@pytest.mark.parametrize(("processes", "refused"), [(8, 1), (2, 0)], ids=["a refused process", "too few processes"])
def test_compare_fails_on_refused_processes_and_on_too_few(
    tmp_path: Path, processes: int, refused: int, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [write_artifact(tmp_path, "a", 1.0), write_artifact(tmp_path, "bb", 1.2, processes, refused)]
    assert main.run(["compare", *names]) == 0
    assert main.run(["compare", *names, "--fail-on", "refused"]) == 1
    assert "--fail-on refused" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["compare", "a", "b"], ["bench", "a.onnx"]])
def test_an_unknown_result_is_a_usage_error(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.run([*command, "--fail-on", "slow"])
    assert ended.value.code == 2
    assert "unknown result 'slow'. Known: slower, different, refused" in capsys.readouterr().err
