"""Compare the Session of each runtime with the vendor's own tool on the same artifact.

    python experiments/compare_with_vendor_tools.py [--model teacher] [--scheme fp32] [--rounds 7]
                                                    [--runtimes openvino,…]
    python experiments/compare_with_vendor_tools.py --untrained 64,128,256     # a network of about 0.7 ms, built here
    python experiments/compare_with_vendor_tools.py --file model.tflite        # an external file, in its own runtime

Three programs run one after the other, each in a fresh process with one thread:

- our Session's invoke in a plain loop over one input, as in the vendors' tools,
- the vendor's tool: benchmark_app for OpenVINO, litert-benchmark for LiteRT, and a plain loop over run_with_iobinding
  for ONNX Runtime, whose wheel has no tool,
- our runner under LoadGen, whose queries have different inputs.

The output is ratios of medians within a round, so that a machine that slows down between rounds does not change them.
For OpenVINO, the Offline scenario of LoadGen is then compared with the throughput mode of benchmark_app. benchmark_app
reports the time of the engine itself, which ends before Python has the output. The difference is the cost of the Python
binding, about 4 µs per inference.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof import entry
from edgeproof.artifacts.external import adopt, files
from edgeproof.core import plugins
from edgeproof.core.directories import read_meta, write_meta
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.core.ports import Port
from edgeproof.devices import runner_zipapp
from edgeproof.paths import ARTIFACTS

BIN = Path(sys.executable).parent
SECONDS = 2
# Throughput mode of benchmark_app with the same resources: asynchronous requests to one stream of one thread.
THROUGHPUT = ["-hint", "none", "-api", "async", "-nstreams", "1", "-nthreads", "1"]

SESSION_LOOP = """
import sys, time, numpy as np
from pathlib import Path
from edgeproof.core import plugins
artifact = Path(sys.argv[2])
session = plugins.load("runtimes", sys.argv[1]).Session(artifact, threads=1)
session(np.load(artifact / "samples.npy")[:1])
durations, begin = [], time.perf_counter()
while time.perf_counter() - begin < float(sys.argv[3]):
    started = time.perf_counter_ns()
    session.invoke()
    durations.append(time.perf_counter_ns() - started)
print(np.median(durations[len(durations) // 10:]) / 1000)
"""

PLAIN_LOOP = """
import sys, time, numpy as np, onnxruntime as ort
from edgeproof.runtimes.onnx import DTYPES
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
x_info, y_info = session.get_inputs()[0], session.get_outputs()[0]
x = np.load(sys.argv[2])[:1].astype(DTYPES[x_info.type])
binding = session.io_binding()
binding.bind_cpu_input(x_info.name, x)
y = np.zeros(y_info.shape, DTYPES[y_info.type])
binding.bind_output(y_info.name, "cpu", 0, y.dtype, list(y.shape), y.ctypes.data)
durations, begin = [], time.perf_counter()
while time.perf_counter() - begin < float(sys.argv[3]):
    started = time.perf_counter_ns()
    session.run_with_iobinding(binding)
    durations.append(time.perf_counter_ns() - started)
print(np.median(durations[len(durations) // 10:]) / 1000)
"""

# litert-benchmark rounds to 10 µs. This runs its own main() and loop, and prints the median unrounded too.
EXACT_LITERT_BENCHMARK = """
import statistics
from ai_edge_litert.tools import benchmark_litert_model
rounded = statistics.median
def exact(values):
    print("exact median:", rounded(values), "ms")
    return rounded(values)
statistics.median = exact
benchmark_litert_model.main()
"""


def main() -> int:
    """Print, for each runtime, the median of the vendor's tool and the ratios of ours to it with their range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="teacher", help="a model of the study")
    parser.add_argument("--scheme", default="fp32", help="its scheme")
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds")
    parser.add_argument("--runtimes", help="names separated by commas (default: all, or those of the file)")
    parser.add_argument("--untrained", metavar="WIDTHS", help="compare with an untrained resnet8 of these widths")
    parser.add_argument("--file", type=Path, help="a .tflite, .onnx, .xml, .keras or .h5 file (the last two: --scheme)")
    parser.add_argument("--output", help="the output to read if the file has several")
    arguments = parser.parse_args()
    title, runtimes = _choose_runtimes(arguments)
    print(f"{title}, 1 thread, medians over {arguments.rounds} rounds [smallest, largest]")
    with tempfile.TemporaryDirectory() as scratch:
        for runtime in runtimes:
            artifact = _prepare_artifact(arguments, runtime, Path(scratch, runtime))
            read_meta(artifact)
            rounds = [_run_round(runtime, artifact, VENDORS[runtime], first=n) for n in range(arguments.rounds)]
            print(
                f"{runtime:9} vendor's tool {statistics.median(r['vendor'] for r in rounds):8.2f} µs   "
                f"Session / vendor {_format_ratios(rounds, 'session')}   "
                f"under LoadGen / vendor {_format_ratios(rounds, 'runner')}",
                flush=True,
            )
            if runtime == "openvino":
                offline = [_run_offline_round(artifact, first=n) for n in range(arguments.rounds)]
                print(
                    f"{runtime:9} throughput mode {statistics.median(r['vendor'] for r in offline):8.0f} samples/s   "
                    f"Offline / vendor {_format_ratios(offline, 'runner')}",
                    flush=True,
                )
    return 0


def _choose_runtimes(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the title of the comparison and the runtimes. Raises ConfigError for a runtime without a vendor's tool."""
    requested = arguments.runtimes.split(",") if arguments.runtimes else None
    if arguments.file:
        (brought,) = files.open_files([arguments.file])
        chosen = requested or brought.list_default_runtimes()
        title = f"{arguments.file} {arguments.scheme if brought.has_schemes else files.AS_IS}"
        comparable = [runtime for runtime in brought.list_runtimes() if runtime in VENDORS]
    else:
        chosen = requested or list(VENDORS)
        title = f"{f'untrained {arguments.untrained}' if arguments.untrained else arguments.model} {arguments.scheme}"
        comparable = list(VENDORS)
    for runtime in chosen:
        if runtime not in comparable:
            raise ConfigError(f"there is no vendor's tool for '{runtime}'. Choose from {', '.join(comparable)}.")
    return title, chosen


def _prepare_artifact(arguments: argparse.Namespace, runtime: str, scratch: Path) -> Path:
    """Return the artifact to measure: one of the study, or one exported into `scratch`."""
    if arguments.file:
        (brought,) = files.open_files([arguments.file])
        scheme = arguments.scheme if brought.has_schemes else files.AS_IS
        adopt.build_artifacts(brought, runtime, [scheme], data=None, output=arguments.output, out_dir=scratch)
        return scratch / scheme
    if arguments.untrained:
        _export_untrained(runtime, [int(width) for width in arguments.untrained.split(",")], arguments.scheme, scratch)
        return scratch
    return ARTIFACTS / runtime / arguments.model / arguments.scheme


def _export_untrained(runtime: str, widths: list[int], scheme: str, artifact: Path) -> None:
    """Export a resnet8 with random weights. The duration of an inference does not depend on training."""
    import torch

    from edgeproof.networks import resnet8

    torch.manual_seed(0)
    model = resnet8.build((Port("image", (1, 28, 28)),), (Port("logits", (10,)),), widths=widths, stem_stride=1).eval()
    samples = np.random.default_rng(0).standard_normal((64, 1, 28, 28)).astype(np.float32)
    artifact.mkdir()
    plugins.load("runtimes", runtime).export(model, (samples,), scheme, artifact)
    np.save(artifact / "samples.npy", samples)
    write_meta(artifact, {"output_shape": [1, 10]})


def _run_offline_round(artifact: Path, *, first: int) -> dict[str, float]:
    """Measure both rates once, alternating which comes first."""
    measures: list[tuple[str, Callable[[], float]]] = [
        ("runner", lambda: float(_run_under_loadgen("openvino", artifact, "Offline")[0]["result_samples_per_second"])),
        (
            "vendor",
            lambda: _run_benchmark_app(artifact, THROUGHPUT, r"Throughput:\s+([\d.]+) (FPS)"),
        ),
    ]
    return {name: measure() for name, measure in (measures if first % 2 else measures[::-1])}


def _run_round(runtime: str, artifact: Path, vendor_us: Callable[[Path], float], *, first: int) -> dict[str, float]:
    """Measure each of the three once, in an order that rotates from round to round."""
    measures: list[tuple[str, Callable[[], float]]] = [
        ("session", lambda: _measure_session_us(runtime, artifact)),
        ("vendor", lambda: vendor_us(artifact)),
        ("runner", lambda: _measure_runner_us(runtime, artifact)),
    ]
    rotated = measures[first % 3 :] + measures[: first % 3]
    return {name: measure() for name, measure in rotated}


def _format_ratios(rounds: list[dict[str, float]], name: str) -> str:
    ratios = [figures[name] / figures["vendor"] for figures in rounds]
    return f"{statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]"


def _measure_session_us(runtime: str, artifact: Path) -> float:
    return float(_capture_output([sys.executable, "-c", SESSION_LOOP, runtime, str(artifact), str(SECONDS)]))


def _measure_runner_us(runtime: str, artifact: Path) -> float:
    """Return the median of invoke_ns in µs, in a SingleStream run of the runner that ships to devices."""
    return float(np.median(_run_under_loadgen(runtime, artifact, "SingleStream")[1])) / 1000


def _run_under_loadgen(runtime: str, artifact: Path, scenario: str) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """Return the log of LoadGen and every invoke_ns of one run of the runner."""
    with tempfile.TemporaryDirectory() as scratch:
        runner = runner_zipapp.pack(runtime, Path(scratch))
        job = {
            "runtime": runtime,
            "artifact": str(artifact.resolve()),
            "samples": str((artifact / "samples.npy").resolve()),
            "threads": 1,
            "mode": "PerformanceOnly",
            "scenario": scenario,
            "warm_up_s": 5,
            "settings": {"min_duration_ms": 1000 * SECONDS, "min_query_count": 1024},
            "packages": {},
        }
        Path(scratch, "job.json").write_text(json.dumps(job), encoding="utf-8")
        result = Path(scratch, "result")
        _capture_output([sys.executable, str(runner), scratch, str(result)])
        content = json.loads((result / "result.json").read_text(encoding="utf-8"))
        if content["status"] != "done":
            raise EdgeproofError(f"the runner failed: {content['error']}")
        with np.load(result / "latencies.npz") as arrays:
            return content["loadgen"], arrays["invoke_ns"]


def _measure_openvino_us(artifact: Path) -> float:
    latency_mode = ["-hint", "none", "-api", "sync", "-nstreams", "1", "-nthreads", "1"]
    return _run_benchmark_app(artifact, latency_mode, r"Median:\s+([\d.]+) (us|ms)")


def _run_benchmark_app(artifact: Path, options: list[str], pattern: str) -> float:
    tool = [str(BIN / "benchmark_app"), "-m", str(artifact / "model.xml"), "-d", "CPU", "-infer_precision", "f32"]
    return _parse_duration(pattern, _capture_output([*tool, *options, "-t", str(SECONDS)]))


def _measure_litert_us(artifact: Path) -> float:
    estimate_us = _measure_litert_runs_us(artifact, 20)
    return _measure_litert_runs_us(artifact, min(20_000, max(50, int(1e6 * SECONDS / estimate_us))))


def _measure_litert_runs_us(artifact: Path, runs: int) -> float:
    command = [sys.executable, "-c", EXACT_LITERT_BENCHMARK, "--model", str(artifact / "model.tflite")]
    options = ["--num_threads", "1", "--num_runs", str(runs), "--warmup_runs", str(min(200, runs))]
    return _parse_duration(r"exact median: ([\d.]+) (ms)", _capture_output([*command, *options]))


def _measure_onnx_us(artifact: Path) -> float:
    command = [sys.executable, "-c", PLAIN_LOOP, str(artifact / "model.onnx"), str(artifact / "samples.npy")]
    return float(_capture_output([*command, str(SECONDS)]))


def _parse_duration(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    if match is None:
        raise EdgeproofError(f"the vendor's tool printed no result: {text[-500:]}")
    number, unit = match.groups()
    return float(number) * (1000 if unit == "ms" else 1)


def _capture_output(command: list[str]) -> str:
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        raise EdgeproofError(
            f"{command[0]} failed with {process.returncode}: {(process.stdout + process.stderr)[-500:]}"
        )
    return process.stdout


VENDORS = {"tflite": _measure_litert_us, "onnx": _measure_onnx_us, "openvino": _measure_openvino_us}

if __name__ == "__main__":
    entry.run(main)
