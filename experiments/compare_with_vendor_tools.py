"""Compare the Session of each runtime with the vendor's own tool on the same artifact.

    python experiments/compare_with_vendor_tools.py [--model teacher] [--scheme fp32] [--rounds 7]
                                                    [--runtimes openvino,…]
    python experiments/compare_with_vendor_tools.py --untrained 64,128,256     # a network of about 0.7 ms, built here
    python experiments/compare_with_vendor_tools.py --file model.tflite        # an external file, in its own runtime

Three programs run one after the other, each in a fresh process with one thread:

- our Session's invoke in a plain loop over one input, as in the vendors' tools,
- the vendor's tool: benchmark_app for OpenVINO and litert-benchmark for LiteRT. The wheels of the others have no tool,
  so it is a plain loop over the vendor's own Python calls (experiments/vendor_loops.py): run_with_iobinding for ONNX
  Runtime, method.execute for ExecuTorch, runSession for MNN, and a new extractor for each inference for ncnn.
  method.execute takes inputs and returns outputs, so it is compared with a whole call of ours,
- our runner under LoadGen, whose queries have different inputs.

First, the outputs of our Session and of the vendor's loop are compared with those of ONNX Runtime's fp32 artifact, or
of a given ONNX file. In fp32 they must agree within a ten-thousandth of the largest one, or the exit code is 1. A file
may have any scheme, so its differences are only printed. LiteRT for Microcontrollers is compared in its outputs only:
its time on this machine says nothing. Runtimes whose packages are missing are left out.

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
import vendor_loops

from edgeproof import entry
from edgeproof.artifacts.external import adopt, files
from edgeproof.config import compose, packages, runtime_extras
from edgeproof.core import plugins
from edgeproof.core.directories import read_meta, write_meta
from edgeproof.core.errors import ArtifactError, ConfigError, EdgeproofError, Unsupported
from edgeproof.core.ports import Port
from edgeproof.devices import runner_zipapp
from edgeproof.paths import ARTIFACTS

Array = np.ndarray[Any, Any]

BIN = Path(sys.executable).parent
SECONDS = 2
# Throughput mode of benchmark_app with the same resources: asynchronous requests to one stream of one thread.
THROUGHPUT = ["-hint", "none", "-api", "async", "-nstreams", "1", "-nthreads", "1"]

# The largest difference from ONNX Runtime's fp32 outputs in fp32, relative to the largest output.
TOLERANCE = 1e-4
REFERENCE_RUNTIME, REFERENCE_SCHEME = "onnx", "fp32"


def main() -> int:
    """Print how the outputs differ, and the ratios of our medians to the vendor's. Return 1 if fp32 outputs differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="teacher", help="a model of the study")
    parser.add_argument("--scheme", default="fp32", help="its scheme")
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds; with 0 only outputs are compared")
    parser.add_argument("--runtimes", help="names separated by commas (default: all, or those of the file)")
    parser.add_argument("--untrained", metavar="WIDTHS", help="compare with an untrained resnet8 of these widths")
    parser.add_argument("--file", type=Path, help="a .tflite, .onnx, .xml, .keras or .h5 file (the last two: --scheme)")
    parser.add_argument("--output", help="the output to read if the file has several")
    arguments = parser.parse_args()
    title, runtimes = _choose_runtimes(arguments)
    print(f"{title}, 1 thread, medians over {arguments.rounds} rounds [smallest, largest]")
    agreements = []
    with tempfile.TemporaryDirectory() as scratch:
        reference = _prepare_reference(arguments, Path(scratch, "reference"))
        for runtime in runtimes:
            artifact = _try_to_prepare(arguments, runtime, arguments.scheme, Path(scratch, runtime))
            if artifact is None:
                continue
            must_agree = arguments.scheme == REFERENCE_SCHEME and arguments.file is None
            agreements.append(_compare_outputs(runtime, artifact, reference, Path(scratch), must_agree=must_agree))
            if runtime not in vendor_loops.UNTIMED and arguments.rounds > 0:
                _compare_times(runtime, artifact, arguments.rounds)
    if not agreements:
        raise ConfigError("nothing was compared. Run a study first, or use --untrained or --file.")
    return 0 if all(agreements) else 1


def _compare_times(runtime: str, artifact: Path, count: int) -> None:
    """Measure the rounds and print the ratios of our medians to the vendor's."""
    rounds = [_run_round(runtime, artifact, first=n) for n in range(count)]
    print(
        f"{runtime:10} vendor's tool {statistics.median(r['vendor'] for r in rounds):8.2f} µs   "
        f"Session / vendor {_format_ratios(rounds, 'session')}   "
        f"under LoadGen / vendor {_format_ratios(rounds, 'runner')}",
        flush=True,
    )
    if runtime == "openvino":
        offline = [_run_offline_round(artifact, first=n) for n in range(count)]
        print(
            f"{runtime:10} throughput mode {statistics.median(r['vendor'] for r in offline):8.0f} samples/s   "
            f"Offline / vendor {_format_ratios(offline, 'runner')}",
            flush=True,
        )


def _compare_outputs(runtime: str, artifact: Path, reference: Path | None, scratch: Path, *, must_agree: bool) -> bool:
    """Print how the outputs of Session and of the vendor's loop differ from the reference's. Return False if too much.

    The differences are relative to the reference's largest output.
    """
    if reference is None:
        print(f"{runtime:10} outputs not compared: there is no artifact of ONNX Runtime")
        return True
    samples = artifact / "samples.npy"
    expected = _run_loop(vendor_loops.ONNX, reference, samples, scratch)[1]
    outputs = {"Session": _run_session(runtime, artifact, scratch)[1]}
    if runtime in vendor_loops.LOOPS:
        outputs["vendor's loop"] = _run_loop(vendor_loops.LOOPS[runtime], artifact, samples, scratch)[1]
    largest = np.abs(expected).max()
    differences = {name: float(np.abs(output - expected).max() / largest) for name, output in outputs.items()}
    agrees = not must_agree or max(differences.values()) <= TOLERANCE
    shown = ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
    limit = f" (limit {TOLERANCE:.0e}{'' if agrees else ', EXCEEDED'})" if must_agree else ""
    print(f"{runtime:10} outputs differ from ONNX Runtime's by: {shown}{limit}", flush=True)
    return agrees


def _choose_runtimes(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the title of the comparison and the installed runtimes, and print which ones are left out.

    Raises ConfigError for a runtime without a vendor's tool.
    """
    requested = arguments.runtimes.split(",") if arguments.runtimes else None
    if arguments.file:
        (brought,) = files.open_files([arguments.file])
        chosen = requested or brought.list_default_runtimes()
        title = f"{arguments.file} {arguments.scheme if brought.has_schemes else files.AS_IS}"
        comparable = [runtime for runtime in brought.list_runtimes() if runtime in RUNTIMES]
    else:
        chosen = requested or list(RUNTIMES)
        title = f"{f'untrained {arguments.untrained}' if arguments.untrained else arguments.model} {arguments.scheme}"
        comparable = list(RUNTIMES)
    for runtime in chosen:
        if runtime not in comparable:
            raise ConfigError(f"there is no vendor's tool for '{runtime}'. Choose from {', '.join(comparable)}.")
    return title, [runtime for runtime in chosen if _is_installed(runtime)]


def _is_installed(runtime: str) -> bool:
    """Return False for a runtime of an extra whose packages are missing, and print the command that installs them."""
    definition = compose.compose_bench_settings("quick").runtimes[runtime]
    absence = runtime_extras.explain_absence(runtime, packages.pin(definition.host_packages))
    if absence is not None:
        print(f"{runtime:10} left out: {absence}, or all extras: make runtimes")
    return absence is None


def _prepare_reference(arguments: argparse.Namespace, scratch: Path) -> Path | None:
    """Return ONNX Runtime's artifact, or None where there is none, as for a file that it does not read."""
    if arguments.file and REFERENCE_RUNTIME not in files.open_files([arguments.file])[0].list_runtimes():
        return None
    return _try_to_prepare(arguments, REFERENCE_RUNTIME, REFERENCE_SCHEME, scratch)


def _try_to_prepare(arguments: argparse.Namespace, runtime: str, scheme: str, scratch: Path) -> Path | None:
    """Return the artifact of a runtime, or print why there is none and return None."""
    try:
        artifact = _prepare_artifact(arguments, runtime, scheme, scratch)
        unsupported = read_meta(artifact).get("unsupported")
    except (Unsupported, ConfigError, ArtifactError) as error:
        unsupported = str(error)
    if unsupported is not None:
        print(f"{runtime:10} in {scheme} left out: {unsupported}")
        return None
    return artifact


def _prepare_artifact(arguments: argparse.Namespace, runtime: str, scheme: str, scratch: Path) -> Path:
    """Return the artifact to measure: one of the study, or one exported into `scratch`."""
    if arguments.file:
        (brought,) = files.open_files([arguments.file])
        scheme = scheme if brought.has_schemes else files.AS_IS
        adopt.build_artifacts(brought, runtime, [scheme], data=None, output=arguments.output, out_dir=scratch)
        return scratch / scheme
    if arguments.untrained:
        _export_untrained(runtime, [int(width) for width in arguments.untrained.split(",")], scheme, scratch)
        return scratch
    return ARTIFACTS / runtime / arguments.model / scheme


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


def _run_round(runtime: str, artifact: Path, *, first: int) -> dict[str, float]:
    """Measure each of the three once, in an order that rotates from round to round."""
    measures: list[tuple[str, Callable[[], float]]] = [
        ("session", lambda: _measure_session_us(runtime, artifact)),
        ("vendor", lambda: _measure_vendor_us(runtime, artifact)),
        ("runner", lambda: _measure_runner_us(runtime, artifact)),
    ]
    rotated = measures[first % 3 :] + measures[: first % 3]
    return {name: measure() for name, measure in rotated}


def _format_ratios(rounds: list[dict[str, float]], name: str) -> str:
    ratios = [figures[name] / figures["vendor"] for figures in rounds]
    return f"{statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]"


def _measure_session_us(runtime: str, artifact: Path) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        return _run_session(runtime, artifact, Path(scratch), SECONDS)[0]


def _measure_vendor_us(runtime: str, artifact: Path) -> float:
    if runtime in TOOLS:
        return TOOLS[runtime](artifact)
    with tempfile.TemporaryDirectory() as scratch:
        return _run_loop(vendor_loops.LOOPS[runtime], artifact, artifact / "samples.npy", Path(scratch), SECONDS)[0]


def _run_session(runtime: str, artifact: Path, scratch: Path, seconds: float = 0) -> tuple[float, Array]:
    step = "call" if runtime in vendor_loops.WHOLE_CALLS else "invoke"
    return _run_loop(vendor_loops.SESSION, artifact, artifact / "samples.npy", scratch, seconds, runtime, step)


def _run_loop(
    program: str, artifact: Path, samples: Path, scratch: Path, seconds: float = 0, *more: str
) -> tuple[float, Array]:
    """Run a program of vendor_loops.py. Return its median in µs, NaN without `seconds`, and its outputs (N, values)."""
    target = scratch / "outputs.npy"
    printed = _capture_output(
        [sys.executable, "-c", program, str(artifact), str(samples), str(seconds), str(target), *more]
    )
    outputs: Array = np.load(target)
    return float(printed.split()[-1]) if seconds else float("nan"), outputs.astype(np.float64)


def _measure_runner_us(runtime: str, artifact: Path) -> float:
    """Return the median of the vendor's step in µs, in a SingleStream run of the runner that ships to devices."""
    durations = "call_ns" if runtime in vendor_loops.WHOLE_CALLS else "invoke_ns"
    return float(np.median(_run_under_loadgen(runtime, artifact, "SingleStream", durations)[1])) / 1000


def _run_under_loadgen(
    runtime: str, artifact: Path, scenario: str, durations: str = "invoke_ns"
) -> tuple[dict[str, Any], Array]:
    """Return the log of LoadGen and the named durations of every inference in one run of the runner."""
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
            return content["loadgen"], arrays[durations]


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
    command = [sys.executable, "-c", vendor_loops.EXACT_LITERT_BENCHMARK, "--model", str(artifact / "model.tflite")]
    options = ["--num_threads", "1", "--num_runs", str(runs), "--warmup_runs", str(min(200, runs))]
    return _parse_duration(r"exact median: ([\d.]+) (ms)", _capture_output([*command, *options]))


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


TOOLS = {"tflite": _measure_litert_us, "openvino": _measure_openvino_us}
RUNTIMES = ("tflite", "onnx", "openvino", *(name for name in vendor_loops.LOOPS if name != "onnx"))

if __name__ == "__main__":
    entry.run(main)
