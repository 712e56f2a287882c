"""Compare each runtime's Session with the vendor's own tool on the same artifact.

    python experiments/compare_with_vendor_tools.py [--model teacher] [--scheme fp32] [--rounds 7] [--runtimes openvino,…]
    python experiments/compare_with_vendor_tools.py --untrained 64,128,256     # a network of about 0.7 ms, made on the spot
    python experiments/compare_with_vendor_tools.py --file model.tflite        # one made elsewhere, in its own runtime

Three things run in turn, each in a fresh process with one thread: our Session's invoke in a plain loop over one input,
as the vendors' tools do it; the vendor's tool; and our runner under LoadGen, whose queries have differing inputs. The
figures are ratios of medians within a round, so a machine that slows down between rounds slows all. OpenVINO is
compared with benchmark_app, LiteRT with litert-benchmark, ONNX Runtime (whose wheel holds no tool) with a plain loop
over run_with_iobinding. For OpenVINO, LoadGen's Offline scenario is then compared with benchmark_app's
throughput mode. benchmark_app reports the engine's own stopwatch, which stops before Python has its answer: the
difference is what the binding costs a Python application, some 4 µs an inference.
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
from edgeproof.devices import runner_zipapp
from edgeproof.paths import ARTIFACTS

BIN = Path(sys.executable).parent
SECONDS = 2
# Its throughput mode on as much of the machine as ours: asynchronous requests to one stream of one thread.
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
from edgeproof.runtimes.onnx import TYPES
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
given, produced = session.get_inputs()[0], session.get_outputs()[0]
x = np.load(sys.argv[2])[:1].astype(TYPES[given.type])
binding = session.io_binding()
binding.bind_cpu_input(given.name, x)
y = np.zeros(produced.shape, TYPES[produced.type])
binding.bind_output(produced.name, "cpu", 0, y.dtype, list(y.shape), y.ctypes.data)
durations, begin = [], time.perf_counter()
while time.perf_counter() - begin < float(sys.argv[3]):
    started = time.perf_counter_ns()
    session.run_with_iobinding(binding)
    durations.append(time.perf_counter_ns() - started)
print(np.median(durations[len(durations) // 10:]) / 1000)
"""

# litert-benchmark rounds to 10 µs; this is its own main() and loop, with the median also printed unrounded.
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
    """Print a line a runtime: the vendor's median, and the ratios of ours to it with their range over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="teacher")
    parser.add_argument("--scheme", default="fp32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runtimes", help="a list with commas (default: all, or a file's own)")
    parser.add_argument("--untrained", metavar="WIDTHS", help="compare with an untrained resnet8 of these widths")
    parser.add_argument("--file", type=Path, help="a .tflite, .onnx, .xml, .keras or .h5 file (the last two: --scheme)")
    parser.add_argument("--output", help="the output to read where the file has several")
    arguments = parser.parse_args()
    what, runtimes = _chosen(arguments)
    print(f"{what}, 1 thread, medians over {arguments.rounds} rounds [least, greatest]")
    with tempfile.TemporaryDirectory() as scratch:
        for runtime in runtimes:
            artifact = _artifact(arguments, runtime, Path(scratch, runtime))
            read_meta(artifact)
            rounds = [_round(runtime, artifact, VENDORS[runtime], first=n) for n in range(arguments.rounds)]
            print(
                f"{runtime:9} vendor's tool {statistics.median(r['vendor'] for r in rounds):8.2f} µs   "
                f"Session / vendor {_ratios(rounds, 'session')}   under LoadGen / vendor {_ratios(rounds, 'runner')}",
                flush=True,
            )
            if runtime == "openvino":
                offline = [_offline_round(artifact, first=n) for n in range(arguments.rounds)]
                print(
                    f"{runtime:9} throughput mode {statistics.median(r['vendor'] for r in offline):8.0f} samples/s   "
                    f"Offline / vendor {_ratios(offline, 'runner')}",
                    flush=True,
                )
    return 0


def _chosen(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """What is compared, in words, and in which runtimes."""
    asked = arguments.runtimes.split(",") if arguments.runtimes else None
    if arguments.file:
        (brought,) = files.opened([arguments.file])
        chosen = asked or brought.own_runtimes()
        what = f"{arguments.file} {arguments.scheme if brought.takes_schemes else files.AS_IS}"
        able = [runtime for runtime in brought.runtimes() if runtime in VENDORS]
    else:
        chosen = asked or list(VENDORS)
        what = f"{f'untrained {arguments.untrained}' if arguments.untrained else arguments.model} {arguments.scheme}"
        able = list(VENDORS)
    for runtime in chosen:
        if runtime not in able:
            raise ConfigError(f"no vendor's tool to compare with in '{runtime}': choose of {', '.join(able)}.")
    return what, chosen


def _artifact(arguments: argparse.Namespace, runtime: str, scratch: Path) -> Path:
    """The artifact to compare on: a study's, or one made in `scratch`."""
    if arguments.file:
        (brought,) = files.opened([arguments.file])
        scheme = arguments.scheme if brought.takes_schemes else files.AS_IS
        adopt.build(brought, runtime, [scheme], data=None, output=arguments.output, out_dir=scratch)
        return scratch / scheme
    if arguments.untrained:
        _untrained(runtime, [int(width) for width in arguments.untrained.split(",")], arguments.scheme, scratch)
        return scratch
    return ARTIFACTS / runtime / arguments.model / arguments.scheme


def _untrained(runtime: str, widths: list[int], scheme: str, artifact: Path) -> None:
    """Export a resnet8 as it is initialized: what an inference costs does not depend on what was learned."""
    import torch

    from edgeproof.networks import resnet8

    torch.manual_seed(0)
    model = resnet8.build((1, 28, 28), 10, widths=widths, stem_stride=1).eval()
    samples = np.random.default_rng(0).standard_normal((64, 1, 28, 28)).astype(np.float32)
    artifact.mkdir()
    plugins.load("runtimes", runtime).export(model, samples, scheme, artifact)
    np.save(artifact / "samples.npy", samples)
    write_meta(artifact, {"output_shape": [1, 10]})


def _offline_round(artifact: Path, *, first: int) -> dict[str, float]:
    """Both rates once, in turn first."""
    measures: list[tuple[str, Callable[[], float]]] = [
        ("runner", lambda: float(_under_loadgen("openvino", artifact, "Offline")[0]["result_samples_per_second"])),
        (
            "vendor",
            lambda: _benchmark_app(artifact, THROUGHPUT, r"Throughput:\s+([\d.]+) (FPS)"),
        ),
    ]
    return {name: measure() for name, measure in (measures if first % 2 else measures[::-1])}


def _round(runtime: str, artifact: Path, vendor_us: Callable[[Path], float], *, first: int) -> dict[str, float]:
    """Each of the three once, in an order that rotates from round to round."""
    measures: list[tuple[str, Callable[[], float]]] = [
        ("session", lambda: _session_us(runtime, artifact)),
        ("vendor", lambda: vendor_us(artifact)),
        ("runner", lambda: _runner_us(runtime, artifact)),
    ]
    turned = measures[first % 3 :] + measures[: first % 3]
    return {name: measure() for name, measure in turned}


def _ratios(rounds: list[dict[str, float]], name: str) -> str:
    ratios = [figures[name] / figures["vendor"] for figures in rounds]
    return f"{statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]"


def _session_us(runtime: str, artifact: Path) -> float:
    return float(_printed([sys.executable, "-c", SESSION_LOOP, runtime, str(artifact), str(SECONDS)]))


def _runner_us(runtime: str, artifact: Path) -> float:
    """The median of invoke_ns in a SingleStream run of the runner that ships to devices."""
    return float(np.median(_under_loadgen(runtime, artifact, "SingleStream")[1])) / 1000


def _under_loadgen(runtime: str, artifact: Path, scenario: str) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """LoadGen's log and every invoke_ns of one run of the runner."""
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
            "packages": [],
        }
        Path(scratch, "job.json").write_text(json.dumps(job), encoding="utf-8")
        result = Path(scratch, "result")
        _printed([sys.executable, str(runner), scratch, str(result)])
        told = json.loads((result / "result.json").read_text(encoding="utf-8"))
        if told["status"] != "done":
            raise EdgeproofError(f"the runner failed: {told['error']}")
        with np.load(result / "latencies.npz") as arrays:
            return told["loadgen"], arrays["invoke_ns"]


def _benchmark_app_us(artifact: Path) -> float:
    alone = ["-hint", "none", "-api", "sync", "-nstreams", "1", "-nthreads", "1"]
    return _benchmark_app(artifact, alone, r"Median:\s+([\d.]+) (us|ms)")


def _benchmark_app(artifact: Path, options: list[str], pattern: str) -> float:
    tool = [str(BIN / "benchmark_app"), "-m", str(artifact / "model.xml"), "-d", "CPU", "-infer_precision", "f32"]
    return _found(pattern, _printed([*tool, *options, "-t", str(SECONDS)]))


def _litert_benchmark_us(artifact: Path) -> float:
    roughly = _litert_runs_us(artifact, 20)
    return _litert_runs_us(artifact, min(20_000, max(50, int(1e6 * SECONDS / roughly))))


def _litert_runs_us(artifact: Path, runs: int) -> float:
    command = [sys.executable, "-c", EXACT_LITERT_BENCHMARK, "--model", str(artifact / "model.tflite")]
    options = ["--num_threads", "1", "--num_runs", str(runs), "--warmup_runs", str(min(200, runs))]
    return _found(r"exact median: ([\d.]+) (ms)", _printed([*command, *options]))


def _plain_loop_us(artifact: Path) -> float:
    command = [sys.executable, "-c", PLAIN_LOOP, str(artifact / "model.onnx"), str(artifact / "samples.npy")]
    return float(_printed([*command, str(SECONDS)]))


def _found(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    if match is None:
        raise EdgeproofError(f"the vendor's tool printed no median: {text[-500:]}")
    number, unit = match.groups()
    return float(number) * (1000 if unit == "ms" else 1)


def _printed(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EdgeproofError(f"{command[0]} failed with {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
    return done.stdout


VENDORS = {"tflite": _litert_benchmark_us, "onnx": _plain_loop_us, "openvino": _benchmark_app_us}

if __name__ == "__main__":
    entry.run(main)
