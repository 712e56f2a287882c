"""Does the comparison cry wolf, and does it find a wolf? Real pairs of runs on this machine.

    python experiments/find_slowdowns.py [--runtime null] [--artifact DIR] [--pairs 20] [--rounds 10] [--slowdown 0.05]
                                  [--in-turns]

A pair is one comparison as a user makes it, of A with itself and of A with B, whose engine is followed by a busy wait
of `slowdown` times A's median. A against A must show no difference in 95% of the pairs, and A against B must show B
slower in 95%. In every round, three fresh processes measure A, A again and B in random order under LoadGen; with
--in-turns two do, in each of which A takes turns with one of the others. The null runtime computes nothing, so there A
and B both wait: for 100 µs, and for `slowdown` more.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof import entry
from edgeproof.bench import verdict as bench_verdict
from edgeproof.bench.session import REPEATS, TURNS_MS
from edgeproof.core import plugins
from edgeproof.core.directories import write_meta
from edgeproof.core.errors import EdgeproofError
from edgeproof.devices import runner_zipapp
from edgeproof.progress import Progress
from edgeproof.statistics.comparison import Comparison, compare, compare_logs
from edgeproof.statistics.intervals import proportion

NULL_WAIT_NS = 100_000
SINGLE_STREAM = {"mode": "PerformanceOnly", "scenario": "SingleStream"}
SETTINGS = {"min_duration_ms": 200, "min_query_count": 64}
WAIT = "wait_ns"
A, AGAIN, B = "a", "again", "b"

# The runtime under test, waiting after its engine for as long as a file beside the artifact says.
WAITING = f"""

import time as _time


class _Waiting(Session):
    def __init__(self, artifact_dir, *, threads):
        super().__init__(artifact_dir, threads=threads)
        self._wait_ns = int((artifact_dir / "{WAIT}").read_text())

    def invoke(self):
        super().invoke()
        end = _time.perf_counter_ns() + self._wait_ns
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
    parser.add_argument("--in-turns", action="store_true")
    arguments = parser.parse_args()
    told: dict[str, list[str]] = {AGAIN: [], B: []}
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), arguments.runtime, arguments.artifact)
        median_ns = bench.slow_down(arguments.slowdown)
        compared = bench.in_turns if arguments.in_turns else bench.in_rounds
        with Progress("comparing", arguments.pairs) as progress:
            for _ in range(arguments.pairs):
                for name, comparison in compared(arguments.rounds).items():
                    told[name].append(comparison.verdict)
                    ratio = comparison.ratio
                    line = f"A against {name}: {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
                    print(line, file=sys.stderr, flush=True)
                progress.advance()
    for name, expected in ((AGAIN, "no difference shown"), (B, "slower")):
        right = proportion(told[name].count(expected), len(told[name]))
        counts = ", ".join(f"{count} × {verdict}" for verdict, count in sorted(collections.Counter(told[name]).items()))
        print(f"A against {name}: {counts}; {right.value:.0%} as expected [{right.low:.0%}, {right.high:.0%}]")
    print(
        f"{arguments.runtime}, median {median_ns / 1000:.1f} µs, {bench.disturbed} of {bench.runs} runs were disturbed"
    )
    return 0


class Bench:
    """Runs A, A again and B, each time in a fresh process."""

    def __init__(self, scratch: Path, runtime: str, artifact: Path | None) -> None:
        self._scratch = scratch
        self._base_ns = NULL_WAIT_NS if runtime == "null" else 0
        self._shuffler = random.Random(0)  # noqa: S311 - an order, not a secret
        self.runs = self.disturbed = 0
        if artifact is None:
            artifact = scratch / "artifact"
            artifact.mkdir()
            np.save(artifact / "samples.npy", np.zeros((8, 1, 4, 4), np.float32))
            write_meta(artifact, {"output_shape": [1, 10]})
        for name in (A, AGAIN, B):
            shutil.copytree(artifact, scratch / name)
            (scratch / name / WAIT).write_text(str(self._base_ns), encoding="ascii")
        waiting = scratch / "plugins" / "runtimes" / "waiting.py"
        waiting.parent.mkdir(parents=True)
        waiting.write_text(plugins.source("runtimes", runtime).read_text(encoding="utf-8") + WAITING, encoding="utf-8")
        os.environ["EDGEPROOF_PLUGINS"] = str(scratch / "plugins")
        self._runner = runner_zipapp.pack("waiting", scratch / "runners")

    def slow_down(self, share: float) -> float:
        """Make B slower than A by a share of A's median, which is returned in ns."""
        _, call_ns = self._run(A, {**SINGLE_STREAM, "settings": SETTINGS})
        median_ns = float(np.median(call_ns))
        (self._scratch / B / WAIT).write_text(str(self._base_ns + round(share * median_ns)), encoding="ascii")
        return median_ns

    def in_rounds(self, rounds: int) -> dict[str, Comparison]:
        """Every variant once a round under LoadGen, in a random order; a round counts where all were valid."""
        found: dict[str, list[Array]] = {A: [], AGAIN: [], B: []}
        for _ in range(rounds):
            order = self._shuffler.sample(list(found), len(found))
            measured = {name: self._measured(name) for name in order}
            valid = {name: call_ns for name, call_ns in measured.items() if call_ns is not None}
            if len(valid) == len(order):
                for name, call_ns in valid.items():
                    found[name].append(call_ns)
        return {name: compare(found[A], found[name], paired=True) for name in (AGAIN, B)}

    def in_turns(self, rounds: int) -> dict[str, Comparison]:
        """A process a round for either comparison."""
        logs: dict[str, list[float]] = {AGAIN: [], B: []}
        for number in range(rounds):
            for name in self._shuffler.sample(list(logs), len(logs)):
                turns = {"against": str(self._scratch / A), "against_samples": self._samples, "duration_ms": TURNS_MS}
                result, _ = self._run(name, {"mode": "InTurns", "order_seed": number, **turns})
                logs[name].append(float(np.median(np.log(result["own_ns"]) - np.log(result["other_ns"]))))
        return {name: compare_logs([0.0] * rounds, of, paired=True) for name, of in logs.items()}

    @property
    def _samples(self) -> str:
        return str(self._scratch / A / "samples.npy")

    def _measured(self, name: str) -> Array | None:
        """Raw call durations in ns of one valid run. A disturbed one is repeated, as a session does it; None where
        the last attempt is as well.
        """
        for _ in range(REPEATS + 1):
            result, call_ns = self._run(name, {**SINGLE_STREAM, "settings": SETTINGS})
            judged = bench_verdict.judge(SINGLE_STREAM, result, call_ns)
            if judged.verdict == "valid":
                return call_ns
            self.disturbed += 1
            if not judged.disturbed:
                raise EdgeproofError(f"the run failed: {'; '.join(judged.reasons)}")
        return None

    def _run(self, name: str, given: dict[str, Any]) -> tuple[dict[str, Any], Array]:
        """The result of one process, and its raw durations: none where LoadGen did not run."""
        self.runs += 1
        artifact = {"runtime": "waiting", "artifact": str(self._scratch / name), "samples": self._samples}
        job = {**artifact, "threads": 1, "warm_up_s": 1.0, "packages": [], **given}
        with tempfile.TemporaryDirectory(dir=self._scratch) as directory:
            Path(directory, "job.json").write_text(json.dumps(job), encoding="utf-8")
            result = Path(directory, "result")
            command: Sequence[str] = [sys.executable, "-B", str(self._runner), directory, str(result)]
            subprocess.run(command, check=True, capture_output=True)
            told: dict[str, Any] = json.loads((result / "result.json").read_text(encoding="utf-8"))
            if told["status"] == "error":
                raise EdgeproofError(f"the run failed: {told['error']}")
            if not (result / "latencies.npz").is_file():
                return told, np.empty(0)
            with np.load(result / "latencies.npz") as arrays:
                return told, arrays["call_ns"]


if __name__ == "__main__":
    entry.run(main)
