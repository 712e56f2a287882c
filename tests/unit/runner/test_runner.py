"""The runner with LoadGen itself: one process a test, because LoadGen allows one test a process."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.bench import verdict
from edgeproof.core import directories, plugins
from edgeproof.core.ports import Port
from edgeproof.devices import runner_zipapp
from edgeproof.report.rows import read_rows
from edgeproof.runner import loadgen
from edgeproof.runner import loadgen_job as runner_job
from edgeproof.runner.outputs import ResponsePacker
from tests.support import record_trees

# A program that runs one LoadGen test over numbered samples. Sample i is an array of i, and its output is i. With
# "several" it has the outputs i, i + 0.5 and the integer 2 i, and a postprocessing adds 1000 to the first of them.
SCRIPT = """
import json, os, sys
from pathlib import Path
import numpy as np
from edgeproof.core.ports import Port
from edgeproof.core.sessions import InferenceSession
from edgeproof.runner import loadgen
from edgeproof.runner.inference import Inference, Postprocessing

given = json.loads(sys.argv[1])
out = Path("out"); out.mkdir()
inputs = np.repeat(np.arange(given["samples"], dtype=np.float32), 4).reshape(-1, 1, 2, 2)

class Session(InferenceSession):
    def __init__(self):
        self.calls, self.resets, self.output = 0, 0, np.zeros((1, 1), np.float32)
        self.outputs = (self.output, np.zeros((1, 2), np.float32), np.zeros((1,), np.int32))
        if not given["several"]:
            self.outputs = self.outputs[:1]
    def reset_state(self):
        self.resets += 1
    def feed(self, x):
        self.x = x
    def invoke(self):
        self.calls += 1
        if given["fails"] == "always" or self.calls in list(given["fails"]):
            raise ValueError(f"broken at call {self.calls}")
        assert self.x.shape == (1, 1, 2, 2) and self.x.flags.c_contiguous
        self.output[0, 0] = self.x.mean()
        for output, value in zip(self.outputs[1:], (self.x.mean() + 0.5, 2 * self.x.mean())):
            output[...] = value
    def fetch(self):
        return self.outputs if given["reuse"] else tuple(output.copy() for output in self.outputs)

def postprocess(first, *others):
    if given["fails"] == "postprocess":
        raise ValueError("broken postprocessing")
    return first + 1000, others[1]

session = Session()
ports, postprocessing = (), None
if given["several"]:
    ports = (Port("a", (1,)), Port("b", (2,)), Port("c", (), "int64"))
if given["postprocesses"]:
    ports = (Port("sum", (1,)), Port("c", (), "int64"))
    postprocessing = Postprocessing(postprocess, ports)
outcome = loadgen.run(Inference(session, postprocessing), (inputs,), ports=ports, mode=given["mode"],
                      scenario=given["scenario"], settings=given["settings"],
                      call_ns=given["call_ns"], out_dir=out, audit=given.get("audit"))
Path("outcome.json").write_text(json.dumps({"log": outcome.log, "error": outcome.error, "calls": session.calls,
                                            "resets": session.resets}))
sys.stdout.flush()
os._exit(0)
"""

AUDIT = "*.*.mode = 1\n*.*.accuracy_log_rng_seed = 77\n"
SETTINGS: dict[str, dict[str, Any]] = {
    "SingleStream": {"min_duration_ms": 10, "min_query_count": 300},
    "MultiStream": {"min_duration_ms": 10, "min_query_count": 662, "multi_stream_samples_per_query": 8},
    "Offline": {"min_duration_ms": 10, "min_query_count": 300},
    "Server": {
        "min_duration_ms": 10,
        "min_query_count": 600,
        "server_target_latency_ns": 5_000_000_000,
        "server_target_qps": 20_000.0,
    },
}


def run(directory: Path, scenario: str = "SingleStream", mode: str = "PerformanceOnly", **given: Any) -> dict[str, Any]:
    directory.mkdir(parents=True, exist_ok=True)
    plain = {
        "samples": 20,
        "fails": [],
        "reuse": True,
        "several": False,
        "postprocesses": False,
        "settings": SETTINGS[scenario],
        "call_ns": 3000,
        "mode": mode,
        "scenario": scenario,
    }
    argv = [sys.executable, "-c", SCRIPT, json.dumps({**plain, **given})]
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads((directory / "outcome.json").read_text())
    return outcome


def read_call_ns(directory: Path) -> np.ndarray:
    with np.load(directory / "out" / "latencies.npz") as arrays:
        call_ns: np.ndarray = arrays["call_ns"]
    return call_ns


# --- performance ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_scenario(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that runs each scenario once and remembers the outcome."""

    @cache
    def measure(scenario: str) -> tuple[dict[str, Any], Path]:
        directory = tmp_path_factory.mktemp(scenario)
        return run(directory, scenario), directory

    return measure


@pytest.mark.parametrize("scenario", SETTINGS)
def test_a_run_is_valid_and_records_one_duration_an_inference(run_scenario: Any, scenario: str) -> None:
    outcome, directory = run_scenario(scenario)
    log, call_ns = outcome["log"], read_call_ns(directory)
    assert outcome["error"] is None
    assert log["result_validity"] == "VALID"
    assert log["effective_scenario"] == scenario
    assert call_ns.dtype == np.uint64
    assert (call_ns > 0).all()
    assert len(call_ns) == outcome["calls"]
    if scenario in ("SingleStream", "Server"):
        assert len(call_ns) == log["result_query_count"]
    elif scenario == "MultiStream":
        assert len(call_ns) == log["result_query_count"] * 8
    else:
        assert log["result_query_count"] == 1
        assert len(call_ns) == log["effective_samples_per_query"]


@pytest.mark.parametrize("scenario", SETTINGS)
def test_a_session_keeps_its_state_while_performance_is_measured(run_scenario: Any, scenario: str) -> None:
    assert run_scenario(scenario)[0]["resets"] == 0


@pytest.mark.parametrize("scenario", ["SingleStream", "Offline"])
def test_a_session_is_reset_before_each_sample_of_an_accuracy_run(tmp_path: Path, scenario: str) -> None:
    outcome = run(tmp_path, scenario, "AccuracyOnly")
    assert outcome["resets"] == outcome["calls"] == 20


def test_recorded_durations_are_below_loadgens_own_which_include_its_overhead(run_scenario: Any) -> None:
    outcome, directory = run_scenario("SingleStream")
    assert np.median(read_call_ns(directory)) < outcome["log"]["result_50.00_percentile_latency_ns"]
    assert (
        read_call_ns(directory).sum() < outcome["log"]["result_mean_latency_ns"] * outcome["log"]["result_query_count"]
    )


@pytest.mark.parametrize("scenario", SETTINGS)
def test_loadgen_reports_the_requested_settings(run_scenario: Any, scenario: str) -> None:
    log = run_scenario(scenario)[0]["log"]
    assert log["effective_min_duration_ms"] == 10
    assert log["effective_test_mode"] == "PerformanceOnly"
    if scenario == "Server":
        assert log["effective_target_qps"] == pytest.approx(20_000)
        assert log["effective_target_latency_ns"] == 5_000_000_000
    if scenario == "MultiStream":
        assert log["effective_samples_per_query"] == 8


@pytest.mark.parametrize(
    ("scenario", "metric", "name"),
    [
        ("MultiStream", r"99\.0th percentile latency \(ns\) : (\S+)", "multi_stream_p99_ns"),
        ("Offline", r"Samples per second: (\S+)", "offline_samples_per_s"),
        ("Server", r"Completed samples per second\s*: (\S+)", "server_samples_per_s"),
    ],
)
def test_a_rows_figure_equals_the_metric_in_loadgens_summary(
    run_scenario: Any, tmp_path: Path, scenario: str, metric: str, name: str
) -> None:
    outcome, directory = run_scenario(scenario)
    match = re.search(metric, (directory / "out" / "mlperf_log_summary.txt").read_text())
    assert match is not None
    key = next(key for key, value in record_trees.LOADGEN.items() if value == scenario)
    record_trees.write(tmp_path, key, log=outcome["log"])
    order = {"devices": ["local"], "models": ["teacher"], "runtimes": ["onnx"]}
    (row,) = read_rows(tmp_path, baseline="teacher", order=order)
    assert getattr(row, name).value == pytest.approx(float(match.group(1)), rel=1e-4)


def test_a_run_that_ends_too_early_for_loadgen_is_invalid_with_its_reason(tmp_path: Path) -> None:
    settings = {"min_duration_ms": 10, "min_query_count": 300, "max_query_count": 100}
    outcome = run(tmp_path, settings=settings)
    (reason,) = verdict.explain_loadgen_validity(outcome["log"])
    assert reason.startswith("LoadGen: ")
    assert len(reason) > len("LoadGen: ")


def test_a_server_run_with_too_few_queries_reports_how_many_more_it_needs(tmp_path: Path) -> None:
    outcome = run(tmp_path, "Server", settings={**SETTINGS["Server"], "min_query_count": 64})
    (reason,) = verdict.explain_loadgen_validity(outcome["log"])
    assert re.search(r"at least \d+ more queries", reason)


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    given = {
        "samples": 2, "fails": [], "reuse": True, "several": False, "postprocesses": False,
        "settings": {"min_duration": 1}, "call_ns": 1, "mode": "PerformanceOnly", "scenario": "SingleStream",
    }  # fmt: skip
    argv = [sys.executable, "-c", SCRIPT, json.dumps(given)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "LoadGen has no setting 'min_duration'" in done.stderr


# --- failures inside LoadGen's callbacks ---------------------------------------------------------------------------


@pytest.mark.parametrize(("fails", "first"), [([5, 7], 5), ("always", 1)])
def test_a_session_that_raises_is_reported_and_does_not_end_the_process(tmp_path: Path, fails: Any, first: int) -> None:
    outcome = run(tmp_path, fails=fails)
    assert outcome["error"] == f"ValueError: broken at call {first}"
    assert outcome["log"]["result_query_count"] == outcome["calls"]
    assert len(read_call_ns(tmp_path)) == (outcome["calls"] - 2 if fails != "always" else 0)


# --- accuracy ------------------------------------------------------------------------------------------------------


def read_outputs(directory: Path) -> list[tuple[int, bytes]]:
    log = json.loads((directory / "out" / "mlperf_log_accuracy.json").read_text())
    return [(entry["qsl_idx"], bytes.fromhex(entry["data"])) for entry in log]


@pytest.mark.parametrize(("samples", "reuse"), [(37, True), (37, False), (1300, True)])
def test_an_accuracy_run_logs_every_sample_once_with_its_own_output(tmp_path: Path, samples: int, reuse: bool) -> None:
    # LoadGen loads more samples than it can hold at once in several sets.
    outcome = run(tmp_path, mode="AccuracyOnly", samples=samples, reuse=reuse)
    outputs = read_outputs(tmp_path)
    assert outcome["error"] is None
    assert outcome["calls"] == samples
    assert sorted(index for index, _ in outputs) == list(range(samples))
    assert all(struct.unpack("<f", data) == (index,) for index, data in outputs)


def test_a_sample_whose_inference_failed_has_an_empty_output(tmp_path: Path) -> None:
    outcome = run(tmp_path, mode="AccuracyOnly", fails=[3])
    outputs = read_outputs(tmp_path)
    assert outcome["error"] == "ValueError: broken at call 3"
    assert sorted(index for index, _ in outputs) == list(range(20))
    assert [len(data) for _, data in outputs].count(0) == 1
    assert all(struct.unpack("<f", data) == (index,) for index, data in outputs if data)


# --- several outputs and postprocessing ----------------------------------------------------------------------------

THREE = struct.Struct("<fffq")  # a, both numbers of b, and c, which the session has as int32 and its port as int64


@pytest.mark.parametrize("reuse", [True, False])
def test_several_outputs_are_logged_one_after_another_in_the_types_of_their_ports(tmp_path: Path, reuse: bool) -> None:
    outcome = run(tmp_path, mode="AccuracyOnly", several=True, reuse=reuse)
    assert outcome["error"] is None
    outputs = read_outputs(tmp_path)
    assert sorted(index for index, _ in outputs) == list(range(20))
    assert all(THREE.unpack(data) == (index, index + 0.5, index + 0.5, 2 * index) for index, data in outputs)


def test_an_output_of_a_shorter_integer_type_is_logged_in_that_of_its_port() -> None:
    packer = ResponsePacker([Port("tokens", (3,), "int64")])
    output = np.array([[1, -2, 3]], np.int32)
    assert packer.changes([output])
    assert packer.pack([output]).tobytes() == output.astype("<i8").tobytes()
    assert not packer.changes([output.astype(np.int64)])


def test_outputs_of_varying_sizes_are_packed_each_in_their_own(tmp_path: Path) -> None:
    packer = ResponsePacker([])
    for size in (3, 0, 5):
        outputs = [np.arange(2 * size, dtype=np.float32).reshape(2, size).T, np.array([size], np.int64)]
        expected = b"".join(np.ascontiguousarray(output).tobytes() for output in outputs)
        assert packer.pack(outputs).tobytes() == expected


@pytest.mark.parametrize("audit", [None, AUDIT])
def test_what_the_postprocessing_returns_is_logged(tmp_path: Path, audit: str | None) -> None:
    outcome = run(tmp_path, mode="AccuracyOnly", several=True, postprocesses=True, audit=audit)
    assert outcome["error"] is None
    assert all(struct.unpack("<fq", data) == (index + 1000, 2 * index) for index, data in read_outputs(tmp_path))


def test_a_call_covers_the_postprocessing_whose_time_is_recorded_apart(tmp_path: Path) -> None:
    outcome = run(tmp_path, several=True, postprocesses=True)
    assert outcome["log"]["result_validity"] == "VALID"
    with np.load(tmp_path / "out" / "latencies.npz") as arrays:
        call, invoke, post = (arrays[name].astype(np.int64) for name in ("call_ns", "invoke_ns", "postprocess_ns"))
    assert len(post) == len(call) == outcome["calls"]
    assert (post > 0).all()
    assert (invoke + post <= call).all()


def test_latencies_without_postprocessing_do_not_name_it(run_scenario: Any) -> None:
    with np.load(run_scenario("SingleStream")[1] / "out" / "latencies.npz") as arrays:
        assert set(arrays) == {"call_ns", "invoke_ns", "started_ns"}


def test_a_postprocessing_that_raises_is_reported(tmp_path: Path) -> None:
    outcome = run(tmp_path, several=True, postprocesses=True, fails="postprocess")
    assert outcome["error"] == "ValueError: broken postprocessing"
    assert len(read_call_ns(tmp_path)) == 0


# --- an audit.config in the working directory --------------------


def test_an_audit_configuration_in_the_working_directory_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "audit.config").write_text(AUDIT)
    log = run(tmp_path)["log"]
    assert log["effective_test_mode"] == "PerformanceOnly"
    assert log["effective_accuracy_log_rng_seed"] == 0


def test_loadgen_by_itself_reads_an_audit_configuration_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "audit.config").write_text(AUDIT)
    script = """
import mlperf_loadgen as lg, os
def issue(ids, indices): lg.QuerySamplesComplete([lg.QuerySampleResponse(i, 0, 0) for i in ids])
test = lg.TestSettings()
test.scenario, test.mode = lg.TestScenario.SingleStream, lg.TestMode.PerformanceOnly
test.min_duration_ms, test.min_query_count = 1, 64
qsl = lg.ConstructQSL(4, 4, lambda indices: None, lambda indices: None)
lg.StartTest(lg.ConstructFastSUT(issue, lambda: None), qsl, test)
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, check=True)
    lines = (tmp_path / "mlperf_log_detail.txt").read_text().splitlines()
    log = {entry["key"]: entry["value"] for entry in (json.loads(line[9:]) for line in lines if line[0] == ":")}
    assert log["effective_test_mode"] == "AccuracyOnly"
    assert log["effective_accuracy_log_rng_seed"] == 77


# --- the whole runner ----------------------------------------------------------------------------------------------


def write_job(directory: Path, runtime: str = "null", **changes: Any) -> Path:
    """A job directory with samples and an artifact of three outputs."""
    artifact = directory / "job" / "artifact"
    artifact.mkdir(parents=True)
    directories.write_meta(artifact, {"output_shape": [1, 3]})
    np.save(directory / "job" / "samples.npy", np.zeros((12, 1, 2, 2), np.float32))
    given = {
        "runtime": runtime,
        "artifact": "artifact",
        "samples": "samples.npy",
        "threads": 1,
        "mode": "PerformanceOnly",
        "scenario": "SingleStream",
        "settings": SETTINGS["SingleStream"],
        "warm_up_s": 0.2,
        "packages": {"numpy": "0", "no-such-package-anywhere": "1"},
        **changes,
    }
    (directory / "job" / "job.json").write_text(json.dumps(given))
    return directory / "job"


def run_runner(runner: Path, job: Path, directory: Path) -> tuple[dict[str, Any], str]:
    argv = [sys.executable, "-I", "-B", str(runner), str(job), "result"]
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(argv, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads((directory / "result" / "result.json").read_text())
    return result, done.stderr


def test_the_packed_runner_measures_the_harness_with_the_null_runtime(tmp_path: Path) -> None:
    result, _ = run_runner(runner_zipapp.pack("null", tmp_path), write_job(tmp_path), tmp_path)
    assert (result["status"], result["error"]) == ("done", None)
    assert verdict.explain_loadgen_validity(result["loadgen"]) == []
    assert result["output_shapes"] == [[1, 3]]
    assert result["versions"] == {"numpy": np.__version__, "no-such-package-anywhere": None}
    assert result["fingerprint"]["python"] == sys.version.split()[0]
    assert result["load_ns"] > 0
    assert result["first_inference_ns"] > 0
    assert result["peak_rss_bytes"] >= result["rss_before_load_bytes"] > 2**20
    assert set(result["counters"]) == {"before", "after"}
    with np.load(tmp_path / "result" / "latencies.npz") as arrays:
        assert len(arrays["call_ns"]) == result["loadgen"]["result_query_count"]
    assert (tmp_path / "result" / "mlperf_log_detail.txt").is_file()


@pytest.mark.parametrize(
    ("break_job", "message"),
    [
        (lambda job: (job / "samples.npy").unlink(), "FileNotFoundError"),
        (lambda job: (job / "job.json").write_text("{"), "JSONDecodeError"),
        (lambda job: (job / "artifact" / "meta.json").unlink(), "never built"),
        (lambda job: (job / "samples.npy").write_bytes(b"\x93NUMPY"), "Error"),
    ],
    ids=["no samples", "half a job", "no artifact", "half the samples"],
)
def test_every_problem_of_a_job_is_written_into_its_result(tmp_path: Path, break_job: Any, message: str) -> None:
    job = write_job(tmp_path)
    break_job(job)
    result, printed = run_runner(runner_zipapp.pack("null", tmp_path), job, tmp_path)
    assert result["status"] == "error"
    assert message in result["error"]
    assert "Traceback" in printed
    assert result["fingerprint"]["cores"] >= 1


@pytest.mark.parametrize(
    ("session", "message"),
    [
        ("return np.full((1, 3), np.nan, np.float32)", "NaN or infinity"),
        ("return np.zeros((1, 3))", "float64, expected float32"),
        ("raise RuntimeError('no such kernel')", "RuntimeError: no such kernel"),
    ],
)
def test_an_invalid_first_output_is_an_error_before_anything_is_timed(
    tmp_path: Path, plugin_root: Path, session: str, message: str
) -> None:
    (plugin_root / "runtimes" / "odd.py").write_text(
        "import numpy as np\nfrom edgeproof.core.sessions import InferenceSession\n\n\n"
        "class Session(InferenceSession):\n    def __init__(self, artifact_dir, *, threads):\n        pass\n\n"
        "    def feed(self, x):\n        pass\n\n"
        f"    def invoke(self):\n        pass\n\n    def fetch(self):\n        {session}\n"
    )
    result, _ = run_runner(runner_zipapp.pack("odd", tmp_path), write_job(tmp_path, "odd"), tmp_path)
    assert result["status"] == "error"
    assert message in result["error"]
    assert not (tmp_path / "result" / "latencies.npz").exists()


def test_a_session_that_the_device_does_not_support_is_unsupported_with_its_reason(
    plugin_root: Path, tmp_path: Path
) -> None:
    (plugin_root / "runtimes" / "odd.py").write_text(
        "from edgeproof.core.errors import Unsupported\n\n\n"
        "class Session:\n    def __init__(self, artifact_dir, *, threads):\n"
        "        raise Unsupported('it has no GPU')\n"
    )
    result, _ = run_runner(runner_zipapp.pack("odd", tmp_path), write_job(tmp_path, "odd"), tmp_path)
    assert (result["status"], result["error"]) == ("unsupported", "it has no GPU")


def test_a_job_for_another_runtime_than_the_runners_is_an_error(tmp_path: Path) -> None:
    result, _ = run_runner(runner_zipapp.pack("null", tmp_path), write_job(tmp_path, "onnx"), tmp_path)
    assert result["status"] == "error"
    assert "unknown runtime 'onnx'" in result["error"]


# --- checks before LoadGen starts ------------------------------------------------------------------------


def test_the_estimated_memory_of_queries_agrees_with_a_measured_run() -> None:
    # A run of 600 s at 181.6 µs held 4.67 GB at its peak: measured with LoadGen 6.0.17.
    needed = loadgen.estimate_memory_bytes("SingleStream", {}, 181_626)
    assert needed == pytest.approx(4.67e9, rel=0.05)
    assert loadgen.estimate_memory_bytes("SingleStream", {"min_duration_ms": 60_000}, 181_626) == pytest.approx(
        needed / 10
    )
    # A query of MultiStream holds eight inferences.
    assert loadgen.estimate_memory_bytes("MultiStream", {}, 181_626) < needed / 4
    assert (
        loadgen.estimate_memory_bytes("SingleStream", {"min_duration_ms": 1, "min_query_count": 10**6}, 10**9) > 300e6
    )
    assert loadgen.estimate_memory_bytes("Server", {"min_duration_ms": 1000, "server_target_qps": 1000.0}, 1) < 10**6


def test_a_run_that_needs_more_memory_than_the_device_has_is_refused_with_both_figures(tmp_path: Path) -> None:
    job = write_job(tmp_path, settings={"min_duration_ms": 10**10})
    result, _ = run_runner(runner_zipapp.pack("null", tmp_path), job, tmp_path)
    assert result["status"] == "error"
    assert re.search(
        r"need about [\d.]+ GB and the device has [\d.]+ GB available; lower min_duration_ms", result["error"]
    )
    assert not (tmp_path / "result" / "mlperf_log_detail.txt").exists()


def test_an_output_with_another_shape_than_the_artifacts_is_an_error(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    (tmp_path / "job" / "artifact" / "meta.json").unlink()
    directories.write_meta(tmp_path / "job" / "artifact", {"output_shape": [1, 3]})
    (tmp_path / "plugins" / "runtimes").mkdir(parents=True)
    source = plugins.find_source("runtimes", "null").read_text()
    (tmp_path / "plugins" / "runtimes" / "odd.py").write_text(source.replace("(1, *port.shape)", "(1, 4)"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPROOF_PLUGINS", str(tmp_path / "plugins"))
        runner = runner_zipapp.pack("odd", tmp_path)
    (job / "job.json").write_text((job / "job.json").read_text().replace('"null"', '"odd"'))
    result, _ = run_runner(runner, job, tmp_path)
    assert "output has shape [1, 4], expected [1, 3]" in result["error"]


@pytest.mark.parametrize(
    ("jump_ns", "refused"), [(0, False), (10**6, False), (-(10**6), False), (10**9, True), (-(10**9), True)]
)
def test_a_jump_of_the_clock_during_the_run_is_an_error(jump_ns: int, refused: bool) -> None:
    before = {"monotonic_ns": 5 * 10**9, "realtime_ns": 10**18}
    after = {"monotonic_ns": 6 * 10**9, "realtime_ns": 10**18 + 10**9 + jump_ns}
    error = runner_job.find_clock_error(before, after)
    assert (error is not None) is refused
    if error is not None:
        assert f"{jump_ns / 1e9:+.3f} s" in error


# --- MLPerf's own settings -----------------------------------------------------------------------------------------


def test_seeds_and_omitted_settings_are_mlperfs(tmp_path: Path) -> None:
    log = run(tmp_path, mode="AccuracyOnly", settings={})["log"]
    assert log["effective_qsl_rng_seed"] == 2085463073848966840
    assert log["effective_sample_index_rng_seed"] == 2747215439041700203
    assert log["effective_schedule_rng_seed"] == 16159082839903944936
    assert log["effective_min_duration_ms"] == 600_000
    assert log["effective_target_latency_percentile"] == 0.9


@pytest.mark.parametrize(
    ("scenario", "line"),
    [
        ("SingleStream", "*.SingleStream.target_latency = 0.0018"),
        ("MultiStream", "*.MultiStream.samples_per_query = 8"),
        ("Offline", "*.Offline.target_qps = 444444.444444"),
        ("Server", "*.Server.target_latency = 5000"),
    ],
)
def test_user_conf_holds_the_settings_of_the_run(run_scenario: Any, scenario: str, line: str) -> None:
    lines = (run_scenario(scenario)[1] / "out" / "user.conf").read_text().splitlines()
    assert line in lines
    assert f"*.{scenario}.min_duration = 10" in lines


def test_the_audit_of_a_job_is_used(tmp_path: Path) -> None:
    log = run(tmp_path, audit=AUDIT)["log"]
    assert log["effective_accuracy_log_rng_seed"] == 77
    assert (tmp_path / "out" / "audit.config").read_text() == AUDIT


def test_the_engines_time_and_the_starts_belong_to_the_same_inferences(run_scenario: Any) -> None:
    with np.load(run_scenario("SingleStream")[1] / "out" / "latencies.npz") as arrays:
        call, invoke, started = (arrays[name].astype(np.int64) for name in ("call_ns", "invoke_ns", "started_ns"))
    assert len(call) == len(invoke) == len(started)
    assert (invoke <= call).all()
    assert started[0] == 0
    assert (np.diff(started) >= call[:-1]).all()
