"""Measure how often a comparison finds a real slowdown, and how often it reports a false one, on this machine.

    python experiments/find_slowdowns.py [--runtime null] [--artifact DIR] [--pairs 20] [--rounds 10] [--slowdown 0.05]
                                  [--interleaved]

A pair is two comparisons as a user makes them: of A with itself, and of A with B. B is A with a busy wait of `slowdown`
times A's median after its engine. A against A must show no difference in 95% of the pairs, and A against B must show
that B is slower in 95%. In each round, three fresh processes measure A, A again and B in random order under LoadGen.
With --interleaved there are two processes, and each interleaves A with one of the others. The null runtime computes
nothing, so there A waits for 100 µs and B for `slowdown` more.
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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof import entry
from edgeproof.bench import verdict as bench_verdict
from edgeproof.bench.runner_jobs import INTERLEAVED_DURATION_MS
from edgeproof.bench.session import REPEATS
from edgeproof.core import plugins
from edgeproof.core.directories import write_meta
from edgeproof.core.errors import EdgeproofError
from edgeproof.core.job import INTERLEAVED_MODE, PERFORMANCE_MODE, InterleavedPartner, RunnerJob
from edgeproof.devices import runner_zipapp
from edgeproof.progress import Progress
from edgeproof.statistics.comparison import Comparison, compare, compare_logs
from edgeproof.statistics.proportions import estimate_proportion

NULL_WAIT_NS = 100_000
SETTINGS = {"min_duration_ms": 200, "min_query_count": 64}
WAIT = "wait_ns"
A, AGAIN, B = "a", "again", "b"

# Appended to the runtime under test: wait after the engine for the time in a file beside the artifact.
WAITING = f"""

import time as _time


class _WaitingSession(Session):
    def __init__(self, artifact_dir, *, threads):
        super().__init__(artifact_dir, threads=threads)
        self._wait_ns = int((artifact_dir / "{WAIT}").read_text())

    def invoke(self):
        super().invoke()
        end = _time.perf_counter_ns() + self._wait_ns
        while _time.perf_counter_ns() < end:
            pass


Session = _WaitingSession
"""

Array = np.ndarray[Any, Any]


def main() -> int:
    """Print how many comparisons of A with itself and with B had the expected verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", default="null", help="the runtime to measure")
    parser.add_argument("--artifact", type=Path, help="an artifact of this runtime; not needed for null")
    parser.add_argument("--pairs", type=int, default=20, help="number of pairs of comparisons")
    parser.add_argument("--rounds", type=int, default=10, help="rounds in each comparison")
    parser.add_argument("--slowdown", type=float, default=0.05, help="share of the median by which B is slower")
    parser.add_argument("--interleaved", action="store_true", help="interleave A with the other in one process")
    arguments = parser.parse_args()
    verdicts: dict[str, list[str]] = {AGAIN: [], B: []}
    with tempfile.TemporaryDirectory() as scratch:
        bench = SlowdownBench(Path(scratch), arguments.runtime, arguments.artifact)
        median_ns = bench.slow_down(arguments.slowdown)
        run_pair = bench.run_interleaved if arguments.interleaved else bench.run_rounds
        with Progress("comparing", arguments.pairs) as progress:
            for _ in range(arguments.pairs):
                for name, comparison in run_pair(arguments.rounds).items():
                    verdicts[name].append(comparison.verdict)
                    ratio = comparison.ratio
                    line = f"A against {name}: {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
                    print(line, file=sys.stderr, flush=True)
                progress.advance()
    for name, expected in ((AGAIN, "no difference shown"), (B, "slower")):
        expected_share = estimate_proportion(verdicts[name].count(expected), len(verdicts[name]))
        counts = ", ".join(
            f"{count} × {verdict}" for verdict, count in sorted(collections.Counter(verdicts[name]).items())
        )
        print(
            f"A against {name}: {counts}; {expected_share.value:.0%} as expected "
            f"[{expected_share.low:.0%}, {expected_share.high:.0%}]"
        )
    print(
        f"{arguments.runtime}, median {median_ns / 1000:.1f} µs, {bench.disturbed} of {bench.runs} runs were disturbed"
    )
    return 0


class SlowdownBench:
    """Measure A, A again and B, each in fresh processes."""

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
        waiting.write_text(
            plugins.find_source("runtimes", runtime).read_text(encoding="utf-8") + WAITING, encoding="utf-8"
        )
        os.environ["EDGEPROOF_PLUGINS"] = str(scratch / "plugins")
        self._runner = runner_zipapp.pack("waiting", scratch / "runners")

    def slow_down(self, share: float) -> float:
        """Make B slower than A by a share of A's median. Return that median in ns."""
        _, call_ns = self._run(self._build_job(A))
        median_ns = float(np.median(call_ns))
        (self._scratch / B / WAIT).write_text(str(self._base_ns + round(share * median_ns)), encoding="ascii")
        return median_ns

    def run_rounds(self, rounds: int) -> dict[str, Comparison]:
        """Measure every variant once per round under LoadGen, in random order. Skip rounds with an invalid run."""
        durations: dict[str, list[Array]] = {A: [], AGAIN: [], B: []}
        for _ in range(rounds):
            order = self._shuffler.sample(list(durations), len(durations))
            runs = {name: self._measure(name) for name in order}
            valid = {name: call_ns for name, call_ns in runs.items() if call_ns is not None}
            if len(valid) == len(order):
                for name, call_ns in valid.items():
                    durations[name].append(call_ns)
        return {name: compare(durations[A], durations[name], paired=True) for name in (AGAIN, B)}

    def run_interleaved(self, rounds: int) -> dict[str, Comparison]:
        """Run one process per round and comparison, which interleaves A with the other."""
        logs: dict[str, list[float]] = {AGAIN: [], B: []}
        for number in range(rounds):
            for name in self._shuffler.sample(list(logs), len(logs)):
                partner = InterleavedPartner(
                    against=str(self._scratch / A),
                    against_samples=self._samples,
                    order_seed=number,
                    duration_ms=INTERLEAVED_DURATION_MS,
                )
                result, _ = self._run(replace(self._build_job(name), mode=INTERLEAVED_MODE, partner=partner))
                logs[name].append(float(np.median(np.log(result["own_ns"]) - np.log(result["other_ns"]))))
        return {name: compare_logs([0.0] * rounds, ratios, paired=True) for name, ratios in logs.items()}

    @property
    def _samples(self) -> tuple[str, ...]:
        return (str(self._scratch / A / "samples.npy"),)

    def _measure(self, name: str) -> Array | None:
        """Return the raw call durations in ns of one valid run, or None if every attempt was disturbed.

        A disturbed run is repeated as in a session. Raises EdgeproofError when a run fails.
        """
        for _ in range(REPEATS + 1):
            job = self._build_job(name)
            result, call_ns = self._run(job)
            judgement = bench_verdict.judge_run(job, result, call_ns)
            if judgement.verdict == "valid":
                return call_ns
            self.disturbed += 1
            if not judgement.disturbed:
                raise EdgeproofError(f"the run failed: {'; '.join(judgement.reasons)}")
        return None

    def _build_job(self, name: str) -> RunnerJob:
        return RunnerJob(
            runtime="waiting",
            artifact=str(self._scratch / name),
            samples=self._samples,
            threads=1,
            mode=PERFORMANCE_MODE,
            scenario="SingleStream",
            settings=SETTINGS,
            warm_up_s=1.0,
            packages={},
        )

    def _run(self, job: RunnerJob) -> tuple[dict[str, Any], Array]:
        """Return the result of one process and its raw durations in ns, which are empty if LoadGen did not run."""
        self.runs += 1
        with tempfile.TemporaryDirectory(dir=self._scratch) as directory:
            Path(directory, "job.json").write_text(json.dumps(job.to_json()), encoding="utf-8")
            result = Path(directory, "result")
            command: Sequence[str] = [sys.executable, "-B", str(self._runner), directory, str(result)]
            subprocess.run(command, check=True, capture_output=True)
            content: dict[str, Any] = json.loads((result / "result.json").read_text(encoding="utf-8"))
            if content["status"] == "error":
                raise EdgeproofError(f"the run failed: {content['error']}")
            if not (result / "latencies.npz").is_file():
                return content, np.empty(0)
            with np.load(result / "latencies.npz") as arrays:
                return content, arrays["call_ns"]


if __name__ == "__main__":
    entry.run(main)
