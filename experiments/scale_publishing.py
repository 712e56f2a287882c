"""Measure the time and memory that tables and the site take as the number of records grows.

    python experiments/scale_publishing.py 1000 10000 100000 1000000

The records have the real schema (edgeproof/records) and are written by the store's own writer. They are those of a farm
of 20 devices and 3 runtimes that measures its models in 4 schemes every night for 16 nights, with five processes and an
accuracy run each. Some cells get slower, some runs are refused, and some devices change their kernel. Raw arrays are
left out: they take 100 KB per record, and tables do not read them.

Each command runs in its own process. Its time, its peak memory and its exit code are printed.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import duckdb
import numpy as np

from edgeproof.core.directories import write_json
from edgeproof.records import parquet_parts, store
from edgeproof.records.columns import StoreLine
from edgeproof.records.summaries import QUANTILE_SHARES

NIGHTS, PROCESSES, SAMPLES, DISTINCT_RECORDS = 16, 5, 10_000, 100_000
RUNTIMES = {"tflite": 1.0, "onnx": 0.9, "openvino": 1.1}
SCHEMES = {"fp32": 1.0, "fp16": 0.97, "int8-dynamic": 0.7, "int8-static": 0.4}
RUNS_PER_SESSION = PROCESSES + 1
COMMANDS = {
    **{
        f"table as {ending}": ["report", "--as-is", "--out", f"table.{ending}"]
        for ending in ("md", "csv", "parquet", "tex", "html")
    },
    "site": ["publish", "--as-is"],
}


def generate_lines(count: int) -> Iterator[StoreLine]:
    """Yield about `count` records, cell by cell."""
    cells = max(1, count // (NIGHTS * RUNS_PER_SESSION))
    devices = min(20, max(1, cells // 12))
    models = -(-cells // (devices * len(RUNTIMES) * len(SCHEMES)))
    rng = np.random.default_rng(0)
    shared = rng.random(SAMPLES)
    cell = 0
    for model in range(models):
        difficulty = 0.7 * shared + 0.3 * rng.random(SAMPLES)
        for device in range(devices):
            for runtime, engine in RUNTIMES.items():
                for scheme, arithmetic in SCHEMES.items():
                    if cell == cells:
                        return
                    cell += 1
                    base = np.log(2e4 * 1.2 ** (model % 20) * (1 + device) ** 0.8 * engine * arithmetic)
                    cell_key = (f"device_{device:02d}", runtime, f"model_{model:03d}", scheme)
                    yield from _generate_cell(cell_key, float(base), difficulty, rng)


def _generate_cell(
    cell_key: tuple[str, str, str, str], base: float, difficulty: np.ndarray, rng: np.random.Generator
) -> Iterator[StoreLine]:
    device, _, model, scheme = cell_key
    number = int(model.rpartition("_")[2])
    hits = difficulty < 0.80 - 0.004 * (number % 20) + (0.0 if scheme == "fp32" else -0.002)
    slower_from = int(rng.integers(NIGHTS)) if rng.random() < 0.05 else NIGHTS
    kernel_from = NIGHTS // 2 if device.endswith("3") else NIGHTS
    for night in range(NIGHTS):
        started_at = datetime.datetime(2026, 3, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=night)
        shift = rng.normal(0, 0.01) + (0.08 if night >= slower_from else 0.0)
        for process in range(PROCESSES):
            is_refused = rng.random() < 0.004
            yield _build_line(
                cell_key,
                started_at,
                night,
                process,
                base + shift + rng.normal(0, 0.02),
                hits,
                is_refused,
                night >= kernel_from,
            )
        yield _build_line(cell_key, started_at, night, None, base, hits, False, night >= kernel_from)


def _build_line(
    cell_key: tuple[str, str, str, str],
    started_at: datetime.datetime,
    night: int,
    process: int | None,
    log_ns: float,
    hits: np.ndarray,
    is_refused: bool,
    has_new_kernel: bool,
) -> StoreLine:
    device, runtime, model, scheme = cell_key
    scenario = "accuracy" if process is None else "single_stream"
    number = int(model.rpartition("_")[2])
    conditions = {
        "cpu": f"Processor {device}",
        "kernel": "6.2" if has_new_kernel else "6.1",
        "threads": 1,
        "preset": "standard",
    }
    has_latencies = process is not None and not is_refused
    logs = {"p50": 0.0, "p90": 0.12, "p99": 0.3, "invoke_p50": -0.02} if has_latencies else {}
    percentiles = {
        f"{name}_log{end}": log_ns + by + width
        for name, by in logs.items()
        for end, width in (("", 0.0), ("_low", -0.004), ("_high", 0.004))
    }
    quantiles = tuple(float(np.exp(log_ns + 0.1 * (share - 0.5) + 0.6 * share**12)) for share in QUANTILE_SHARES)
    correct = {"correct": int(hits.sum()), "total": SAMPLES, "hits": np.packbits(hits).tobytes()}
    session = f"{device}_{runtime}_{night:02d}"
    return StoreLine(
        path=f"records/{session}/{runtime}/{model}.{scheme}/{scenario}.{process or 0}",
        session_key=session,
        session_id=session,
        night=started_at.date().isoformat(),
        study="farm",
        task="shapes",
        device=device,
        session=night,
        preset="standard",
        runtime=runtime,
        model=model,
        scheme=scheme,
        scenario=scenario,
        process=process or 0,
        attempt=0,
        measured_at=(started_at + datetime.timedelta(seconds=60 * (process or 0))).isoformat(),
        verdict="invalid" if is_refused else "valid",
        reasons=("some task waited 31% of the run for a processor (limit 0.1)",) if is_refused else (),
        schema_on_disk=2,
        artifact_sha256=f"{number:08x}{runtime:_<12}{scheme:_<12}".encode().hex()[:64],
        model_sha256=f"{number:064x}",
        method="prune_channels" if number else "train",
        seed=0,
        parameters=1000 * (number + 1),
        macs=20_000 * (number + 1),
        weight_sparsity=0.0,
        commit_id="c" * 40,
        runner="d" * 64,
        loadgen_scenario="SingleStream",
        parent="model_000" if number else None,
        size_bytes=4096 * (number + 1),
        gzip_bytes=4000 * (number + 1),
        threads=1,
        cpu=conditions["cpu"],
        versions=json.dumps({runtime: "1.0", "numpy": "2.0"}),
        conditions=json.dumps(conditions),
        fingerprint=json.dumps(conditions),
        load_ns=5_000_000,
        first_inference_ns=300_000,
        peak_rss_bytes=64 * 2**20,
        loadgen_p50_ns=float(np.exp(log_ns)) if has_latencies else None,
        drift=0.01,
        waiting_share=0.002,
        inferences=5000 if has_latencies else None,
        independent_share=0.4 if has_latencies else None,
        quantiles_ns=quantiles if has_latencies else None,
        **percentiles,
        **(correct if process is None else {}),
    )


def make_store(root: Path, count: int) -> int:
    """Write the store of `root` with about `count` records and return their number.

    Files are split by device and month as in the real store. Beyond 100,000 records, the same values are repeated under
    names of more models.
    """
    place, copies = store.locate(root), max(1, round(count / DISTINCT_RECORDS))
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        distinct, everything = Path(scratch, "distinct.parquet"), Path(scratch, "all.parquet")
        total = parquet_parts.write_lines(generate_lines(min(count, DISTINCT_RECORDS)), distinct) * copies
        selection = "SELECT * REPLACE (model || '_' || n AS model, path || '_' || n AS path)"
        duckdb.execute(f"COPY ({selection} FROM '{distinct}', range({copies}) t(n)) TO '{everything}' (FORMAT parquet)")
        parts = sorted(parquet_parts.list_parts(everything))
        for part in parts:
            parquet_parts.merge_part(place / part, everything, [], part, place / part)
    sessions = {"all": {"records": total, "older": 0, "damaged": []}}
    write_json(place / store.INDEX, {"made_by": "experiments/scale_publishing.py", "sessions": sessions})
    return total


def measure_command(argv: list[str], directory: Path) -> str:
    """Run a command in its own process. Return its wall and processor seconds, peak MiB and exit code as text."""
    started = time.monotonic()
    command = [sys.executable, "-m", "edgeproof.cli", *argv]
    process = subprocess.Popen(command, cwd=directory, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    _, status, usage = os.wait4(process.pid, 0)
    wall_s, cpu_s = time.monotonic() - started, usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    return f"{wall_s:.2f} s, {cpu_s:.2f} s of processors, {usage.ru_maxrss / 1024:.0f} MiB, exit code {code}"


def main(counts: list[int]) -> None:
    """Print the cost of each command for each number of records."""
    for count in counts:
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch, "results/records")
            root.mkdir(parents=True)
            # The peak memory of a child includes that of its parent at the fork, so another process makes the records.
            with ProcessPoolExecutor(1, get_context("spawn")) as executor:
                total = executor.submit(make_store, root, count).result()
            size = sum(path.stat().st_size for path in store.locate(root).rglob("*.parquet"))
            print(f"{total} records, {size / 2**20:.1f} MiB of Parquet", flush=True)
            for name, argv in COMMANDS.items():
                print(f"  {name}: {measure_command(argv, Path(scratch))}", flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [1000])
