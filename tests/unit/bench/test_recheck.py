"""Real sessions agree with themselves, and every edit of a figure, a verdict, a duration or a record is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.bench import recheck
from edgeproof.bench import session as session_run
from edgeproof.cli import main
from edgeproof.config.params import Params
from edgeproof.core import directories
from edgeproof.records import kinds, record_files, signature_checks
from edgeproof.statistics.proportions import estimate_proportion
from tests.support import tiny_task
from tests.support.bench_project import SERVER, SINGLE_STREAM, build_study, write_project
from tests.support.verdict_limits import TOLERANT

pytestmark = pytest.mark.end_to_end

OFFLINE = {"scenario": "Offline", "settings": {"min_duration_ms": 100, "min_query_count": 64}}
MULTI_STREAM = {"scenario": "MultiStream", "settings": {"min_duration_ms": 5, "min_query_count": 300}}
SLOW_SERVER = {**SERVER, "load": 0.1}
SCENARIOS = {"single_stream": SINGLE_STREAM, "server": SLOW_SERVER, "offline": OFFLINE, "multi_stream": MULTI_STREAM}
# The checks allow several times the time of the harness, which a busy machine multiplies. The product of a small matrix
# takes hardly longer than that, so every inference also waits.
SLOW_RUNTIME = "import time\n" + tiny_task.RUNTIME.replace(
    "    def invoke(self):\n",
    "    def invoke(self):\n        end_ns = time.perf_counter_ns() + 200_000\n"
    "        while time.perf_counter_ns() < end_ns:\n            pass\n",
)
RECORDS = Path("results/records")
SESSION = RECORDS / "desk_matrix"
CELL = SESSION / "matrix/m.fp32"


@pytest.fixture(scope="module")
def measured_session(digits_study: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with a session of two processes in all scenarios, and an interleaved run."""
    root = tmp_path_factory.mktemp("measured")
    for kind in ("tasks", "runtimes"):
        (root / "plugins" / kind).mkdir(parents=True)
    changes: dict[str, Any] = {"processes": 2, "all": SCENARIOS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPROOF_PLUGINS", str(root / "plugins"))
        patch.chdir(root)
        write_project(root, SLOW_RUNTIME)
        session_run.run_study_session("desk_matrix", build_study(digits_study, **changes), TOLERANT)
    return root


@pytest.fixture
def project(measured_session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(measured_session / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def find_problems() -> list[str]:
    findings = list(signature_checks.verify_sessions([RECORDS], None, recheck.list_problems))
    return [problem for finding in findings for problem in finding.problems]


def edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change record.json and renew its hashes, as somebody does who knows the format."""
    content = json.loads((directory / "record.json").read_text())
    change(content)
    files = {name: directories.hash_file(directory / name) for name in content["files"]}
    directories.write_json(directory / "record.json", {**content, "files": files})


def scale_durations(directory: Path, factor: float, *names: str) -> None:
    with np.load(directory / "latencies.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name in names:
        arrays[name] = (arrays[name] * factor).astype(np.uint64)
    np.savez_compressed(directory / "latencies.npz", **arrays)
    edit(directory, lambda _: None)


def test_a_real_session_agrees_with_itself(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_problems() == []
    assert main.run(["verify"]) == 0
    assert "An unsigned session can only be checked for damage and contradictions" in capsys.readouterr().out
    records = list(record_files.read_all(RECORDS))
    assert {record.loadgen_scenario for record in records} > {"SingleStream", "Server", "Offline", "MultiStream"}
    assert {record.content.get("processes") for record in records} == {None, 2}


def test_a_doubled_figure_differs_from_loadgens_own_log(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = "result_samples_per_second"

    def double(content: dict[str, Any]) -> None:
        content["result"]["loadgen"][key] *= 2

    edit(CELL / "offline.0", double)
    assert any(f"'{key}' is" in problem and "mlperf_log_detail.txt" in problem for problem in find_problems())
    assert main.run(["verify"]) == 1
    assert main.run(["explain", "desk/matrix/m/fp32"]) == 1
    assert "contradictory" in capsys.readouterr().out
    assert main.run(["query", "SELECT count(*) FROM records WHERE scenario = 'offline'", "--format", "csv"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "count_star()\n1\n"
    assert "offline.0" in captured.err


def test_a_figure_that_is_doubled_in_the_log_too_contradicts_the_raw_durations(project: Path) -> None:
    path = CELL / "offline.0/mlperf_log_detail.txt"
    content = json.loads((CELL / "offline.0/record.json").read_text())
    rate = content["result"]["loadgen"]["result_samples_per_second"]
    path.write_text(path.read_text().replace(f'"value": {rate}', f'"value": {10 * rate}'))

    def multiply(content: dict[str, Any]) -> None:
        content["result"]["loadgen"]["result_samples_per_second"] *= 10

    edit(CELL / "offline.0", multiply)
    assert "samples per second are" in "\n".join(find_problems())


@pytest.mark.parametrize("factor", [0.25, 4.0])
@pytest.mark.parametrize("scenario", ["single_stream", "multi_stream", "server"])
def test_scaled_durations_with_renewed_hashes_contradict_loadgen(project: Path, scenario: str, factor: float) -> None:
    if (scenario, factor) == ("server", 0.25):
        pytest.skip("queries wait in Server, so shorter inferences are possible")
    scale_durations(CELL / f"{scenario}.0", factor, "call_ns", "invoke_ns", "started_ns")
    assert any(f"{scenario}.0" in problem for problem in find_problems())


def test_a_changed_verdict_contradicts_its_inputs(project: Path) -> None:
    edit(CELL / "single_stream.1", lambda content: content["result"]["fallbacks"].append("a slow kernel"))
    (problem,) = find_problems()
    assert "its verdict is 'valid', but its inputs give 'invalid' (did not run as expected: a slow kernel)" in problem


def test_a_changed_condition_contradicts_the_counters(project: Path) -> None:
    edit(CELL / "single_stream.1", lambda content: content["figures"].update(drift=0.5))
    assert "'drift' is 0.5, but the counters and the raw durations give" in "\n".join(find_problems())


def test_a_deleted_process_is_missed_by_verify_and_explain(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(CELL / "single_stream.1")
    assert "matrix/m/fp32/single_stream has no record of process 1 (of 2)" in "\n".join(find_problems())
    assert main.run(["explain", "desk/matrix/m/fp32"]) == 1
    assert "warning: results/records/desk_matrix: matrix/m/fp32/single_stream has no record" in capsys.readouterr().out


def test_a_deleted_kind_of_record_leaves_a_gap_in_the_sessions_order(project: Path) -> None:
    for directory in SESSION.glob("null/*/single_stream.*"):
        shutil.rmtree(directory)
    assert "in its order" in "\n".join(find_problems())


def test_a_record_without_loadgens_log_or_without_its_latencies_is_named(project: Path) -> None:
    for name in ("mlperf_log_detail.txt", kinds.LATENCIES_FILE):
        (CELL / "single_stream.0" / name).unlink()
        edit_names(CELL / "single_stream.0", name)
    problems = "\n".join(find_problems())
    assert "has no mlperf_log_detail.txt, so nothing confirms its figures" in problems
    assert "has no latencies.npz, so nothing confirms its latencies" in problems


def edit_names(directory: Path, name: str) -> None:
    content = json.loads((directory / "record.json").read_text())
    content["files"].pop(name)
    directories.write_json(directory / "record.json", content)


def change_evidence(**quality: Any) -> None:
    """Turn a hit into a miss, with the quality that follows, and renew all hashes."""
    directory = CELL / "accuracy.0"
    with np.load(directory / kinds.EVIDENCE_FILE) as stored:
        hits = stored["correct"]
    hits[np.flatnonzero(hits)[0]] = False
    np.savez_compressed(directory / kinds.EVIDENCE_FILE, correct=hits)
    estimate = estimate_proportion(int(hits.sum()), len(hits))
    own = {"value": estimate.value, "low": estimate.low, "high": estimate.high, **quality}
    edit(directory, lambda content: content["quality"].update(own))


def test_a_quality_that_its_evidence_does_not_give_is_named(project: Path) -> None:
    change_evidence(high=0.99)
    problems = "\n".join(find_problems())
    assert "its hits give 0.780000" in problems


def test_evidence_that_the_outputs_do_not_give_is_named_where_the_test_split_is(
    measured_session: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_evidence()
    assert find_problems() == []  # neither the task nor its data is here
    shutil.copytree(measured_session / "data", project / "data")
    monkeypatch.setenv("EDGEPROOF_PLUGINS", str(measured_session / "plugins"))
    (problem,) = find_problems()
    assert "accuracy.0: its outputs give other evidence (correct) with the test split that is prepared here" in problem
    edit(CELL / "accuracy.0", lambda content: content["artifact"]["model"].update(data_sha256="of another split"))
    assert find_problems() == []
