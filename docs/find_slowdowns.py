"""Does the comparison cry wolf, and does it find a wolf? Real pairs of runs on this machine.

    python docs/find_slowdowns.py [--runtime null] [--artifact DIR] [--pairs 20] [--rounds 10] [--slowdown 0.05]
                                  [--percent 50] [--duration-ms 200]

A pair is one comparison as a user makes it: in every round, three fresh processes measure the same artifact in random
order under LoadGen: A, A again, and B, whose engine is followed by a busy wait of `slowdown` times A's median. A
against A must show no difference in 95% of the pairs, and A against B must show B slower in 95%. The null runtime
computes nothing, so there A and B both wait: for 100 µs, and for `slowdown` more.

On a virtual machine whose processor has two speeds, as its neighbour on the same core works or rests, the medians jump
from one to the other. A low percentile of longer runs is that of the quick speed alone.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof import entry, packing, verdicts
from edgeproof.benching import REPEATS
from edgeproof.core import plugins
from edgeproof.core.directories import write_meta
from edgeproof.core.errors import EdgeproofError
from edgeproof.progress import Progress
from edgeproof.report.comparison import compare
from edgeproof.report.statistics import proportion

NULL_WAIT_NS = 100_000
DURATION_MS = 200

WAITING = """

import time as _time


class _Waiting(Session):
    def invoke(self):
        super().invoke()
        end = _time.perf_counter_ns() + {wait_ns}
        while _time.perf_counter_ns() < end:
            pass


Session = _Waiting
"""

Array = np.ndarray[Any, Any]


def main() -> int:
    """Print how many of the pairs of equals were told apart, and how many of the slowed ones were found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", default="null")
    parser.add_argument("--artifact", type=Path)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--slowdown", type=float, default=0.05)
    parser.add_argument("--percent", type=float, default=50.0)
    parser.add_argument("--duration-ms", type=int, default=DURATION_MS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), arguments.runtime, arguments.artifact, arguments.duration_ms)
        base_ns = NULL_WAIT_NS if arguments.runtime == "null" else 0
        first = bench.measure(base_ns)
        if first is None:
            raise EdgeproofError("the machine is too busy to measure anything: try again when it rests")
        median_ns = float(np.median(first))
        slowed_ns = base_ns + round(arguments.slowdown * median_ns)
        told: dict[str, list[str]] = {"A against A": [], "A against B": []}
        shuffler = random.Random(0)  # noqa: S311 - an order, not a secret
        with Progress("comparing", arguments.pairs * arguments.rounds) as progress:
            for _ in range(arguments.pairs):
                found = _session(
                    bench, {"a": base_ns, "again": base_ns, "b": slowed_ns}, arguments.rounds, shuffler, progress
                )
                for name, variant in (("A against A", "again"), ("A against B", "b")):
                    comparison = compare(found["a"], found[variant], percent=arguments.percent, paired=True)
                    told[name].append(comparison.verdict)
                    ratio = comparison.ratio
                    print(f"{name}: {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]", file=sys.stderr, flush=True)
    for name, outcomes in told.items():
        expected = "no difference shown" if name == "A against A" else "slower"
        right = proportion(outcomes.count(expected), len(outcomes))
        counts = ", ".join(f"{count} × {verdict}" for verdict, count in sorted(collections.Counter(outcomes).items()))
        print(f"{name}: {counts}; {right.value:.0%} as expected [{right.low:.0%}, {right.high:.0%}]")
    print(
        f"{arguments.runtime}, median {median_ns / 1000:.1f} µs, "
        f"{bench.repeated} of {bench.runs} runs disturbed; p{arguments.percent:g} of {arguments.duration_ms} ms"
    )
    return 0


def _session(
    bench: Bench, waits: dict[str, int], rounds: int, shuffler: random.Random, progress: Progress
) -> dict[str, list[Array]]:
    """Every variant once a round, in a random order; a round counts where all were valid."""
    found: dict[str, list[Array]] = {name: [] for name in waits}
    for _ in range(rounds):
        order = list(waits)
        shuffler.shuffle(order)
        measured = {name: bench.measure(waits[name]) for name in order}
        valid = {name: call_ns for name, call_ns in measured.items() if call_ns is not None}
        if len(valid) == len(order):
            for name, call_ns in valid.items():
                found[name].append(call_ns)
        progress.advance()
    return found


class Bench:
    """Runs an artifact under LoadGen, each time in a fresh process, with a busy wait after the engine."""

    def __init__(self, scratch: Path, runtime: str, artifact: Path | None, duration_ms: int) -> None:
        self._scratch, self._runtime, self._duration_ms = scratch, runtime, duration_ms
        self.runs = self.repeated = 0
        if artifact is None:
            artifact = scratch / "artifact"
            artifact.mkdir()
            np.save(artifact / "samples.npy", np.zeros((8, 1, 4, 4), np.float32))
            write_meta(artifact, {"output_shape": [1, 10]})
        self._artifact = artifact.resolve()

    def measure(self, wait_ns: int) -> Array | None:
        """Raw call durations in ns of one valid run. A disturbed one is repeated, as a session does it; None where
        the last attempt is as well.
        """
        for _ in range(REPEATS + 1):
            self.runs += 1
            result, call_ns = self._run(wait_ns)
            judged = verdicts.judge({"mode": "PerformanceOnly", "scenario": "SingleStream"}, result, call_ns)
            if judged.verdict == "valid":
                return call_ns
            self.repeated += 1
            if not judged.disturbed:
                raise EdgeproofError(f"the run failed: {'; '.join(judged.reasons)}")
        return None

    def _run(self, wait_ns: int) -> tuple[dict[str, Any], Array]:
        runner = self._runner(wait_ns)
        with tempfile.TemporaryDirectory(dir=self._scratch) as directory:
            job = {
                "runtime": runner.parent.name,
                "artifact": str(self._artifact),
                "samples": str(self._artifact / "samples.npy"),
                "threads": 1,
                "mode": "PerformanceOnly",
                "scenario": "SingleStream",
                "settings": {"min_duration_ms": self._duration_ms, "min_query_count": 64},
                "warm_up_s": 1.0,
                "packages": [],
            }
            Path(directory, "job.json").write_text(json.dumps(job), encoding="utf-8")
            result = Path(directory, "result")
            subprocess.run([sys.executable, "-B", str(runner), directory, str(result)], check=True, capture_output=True)
            with np.load(result / "latencies.npz") as arrays:
                return json.loads((result / "result.json").read_text(encoding="utf-8")), arrays["call_ns"]

    def _runner(self, wait_ns: int) -> Path:
        """The runner with a runtime that waits after its engine, as a plugin outside the package."""
        name = f"waiting_{wait_ns}"
        root = self._scratch / "plugins"
        path = root / "runtimes" / f"{name}.py"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            source = plugins.source("runtimes", self._runtime).read_text(encoding="utf-8")
            path.write_text(source + WAITING.format(wait_ns=wait_ns), encoding="utf-8")
        os.environ["EDGEPROOF_PLUGINS"] = str(root)
        return packing.pack(name, self._scratch / "runners" / name)


if __name__ == "__main__":
    entry.run(main)
