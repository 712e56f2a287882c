"""What tables and the site cost as records grow: makes stores of many records and measures the commands over them.

    python experiments/scale_publishing.py 1000 10000 100000 1000000

Records are lines of the real schema (edgeproof/report/summaries.py), written by the store's own writer: a farm of 20
devices and 3 runtimes that measured its models in 4 schemes every night for 16 nights, five processes and an accuracy
run each. Raw arrays are not made: at 100 KB a record a million would fill a disk, and tables don't open them. Some
cells get slower on some night, some are refused, some devices change their kernel.

Each command runs in a process of its own; what is told is its time and its peak memory.
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
from edgeproof.records import store
from edgeproof.records.summaries import SHARES, Summary

NIGHTS, PROCESSES, SAMPLES, MADE_AT_ONCE = 16, 5, 10_000, 100_000
RUNTIMES = {"tflite": 1.0, "onnx": 0.9, "openvino": 1.1}
SCHEMES = {"fp32": 1.0, "fp16": 0.97, "int8-dynamic": 0.7, "int8-static": 0.4}
A_SITTING = PROCESSES + 1
COMMANDS = {
    **{
        f"table as {ending}": ["report", "--as-is", "--out", f"table.{ending}"]
        for ending in ("md", "csv", "parquet", "tex", "html")
    },
    "site": ["publish", "--as-is"],
}


def lines(count: int) -> Iterator[Summary]:
    """About `count` lines, cell by cell."""
    cells = max(1, count // (NIGHTS * A_SITTING))
    devices = min(20, max(1, cells // 12))
    models = -(-cells // (devices * len(RUNTIMES) * len(SCHEMES)))
    rng = np.random.default_rng(0)
    shared = rng.random(SAMPLES)
    told = 0
    for model in range(models):
        difficulty = 0.7 * shared + 0.3 * rng.random(SAMPLES)
        for device in range(devices):
            for runtime, engine in RUNTIMES.items():
                for scheme, arithmetic in SCHEMES.items():
                    if told == cells:
                        return
                    told += 1
                    base = np.log(2e4 * 1.2 ** (model % 20) * (1 + device) ** 0.8 * engine * arithmetic)
                    where = (f"device_{device:02d}", runtime, f"model_{model:03d}", scheme)
                    yield from _cell(where, float(base), difficulty, rng)


def _cell(
    where: tuple[str, str, str, str], base: float, difficulty: np.ndarray, rng: np.random.Generator
) -> Iterator[Summary]:
    device, _, model, scheme = where
    number = int(model.rpartition("_")[2])
    hits = difficulty < 0.80 - 0.004 * (number % 20) + (0.0 if scheme == "fp32" else -0.002)
    slower_from = int(rng.integers(NIGHTS)) if rng.random() < 0.05 else NIGHTS
    kernel_from = NIGHTS // 2 if device.endswith("3") else NIGHTS
    for night in range(NIGHTS):
        began = datetime.datetime(2026, 3, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=night)
        shift = rng.normal(0, 0.01) + (0.08 if night >= slower_from else 0.0)
        for process in range(PROCESSES):
            refused = rng.random() < 0.004
            yield _line(
                where, began, night, process, base + shift + rng.normal(0, 0.02), hits, refused, night >= kernel_from
            )
        yield _line(where, began, night, None, base, hits, False, night >= kernel_from)


def _line(
    where: tuple[str, str, str, str],
    began: datetime.datetime,
    night: int,
    process: int | None,
    log_ns: float,
    hits: np.ndarray,
    refused: bool,
    newer: bool,
) -> Summary:
    device, runtime, model, scheme = where
    scenario = "accuracy" if process is None else "single_stream"
    number = int(model.rpartition("_")[2])
    conditions = {"cpu": f"Processor {device}", "kernel": "6.2" if newer else "6.1", "threads": 1, "preset": "standard"}
    timed = process is not None and not refused
    logs = {"p50": 0.0, "p90": 0.12, "p99": 0.3, "invoke_p50": -0.02} if timed else {}
    percentiles = {
        f"{name}_log{end}": log_ns + by + width
        for name, by in logs.items()
        for end, width in (("", 0.0), ("_low", -0.004), ("_high", 0.004))
    }
    quantiles = tuple(float(np.exp(log_ns + 0.1 * (share - 0.5) + 0.6 * share**12)) for share in SHARES)
    correct = {"correct": int(hits.sum()), "total": SAMPLES, "hits": np.packbits(hits).tobytes()}
    session = f"{device}_{runtime}_{night:02d}"
    return Summary(
        path=f"records/{session}/{runtime}/{model}.{scheme}/{scenario}.{process or 0}",
        session_key=session,
        session_id=session,
        night=began.date().isoformat(),
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
        measured_at=(began + datetime.timedelta(seconds=60 * (process or 0))).isoformat(),
        verdict="invalid" if refused else "valid",
        reasons=("some task waited 31% of the run for a processor (limit 0.1)",) if refused else (),
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
        loadgen_p50_ns=float(np.exp(log_ns)) if timed else None,
        drift=0.01,
        waiting_share=0.002,
        inferences=5000 if timed else None,
        independent_share=0.4 if timed else None,
        quantiles_ns=quantiles if timed else None,
        **percentiles,
        **(correct if process is None else {}),
    )


def make(root: Path, count: int) -> int:
    """Write the store of `root` with about `count` records, a file a device and month as `refresh` does.

    Beyond 100,000 the same lines stand for more models.
    """
    place, copies = store.beside(root), max(1, round(count / MADE_AT_ONCE))
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        once, everything = Path(scratch, "once.parquet"), Path(scratch, "all.parquet")
        total = store.write_lines(lines(min(count, MADE_AT_ONCE)), once) * copies
        named = "SELECT * REPLACE (model || '_' || n AS model, path || '_' || n AS path)"
        duckdb.execute(f"COPY ({named} FROM '{once}', range({copies}) t(n)) TO '{everything}' (FORMAT parquet)")
        parts = sorted(store.parts_in(everything))
        for part in parts:
            store.merge(place / part, everything, [], part, place / part)
    sessions = {"all": {"records": total, "older": 0, "damaged": []}}
    write_json(place / store.INDEX, {"made_by": "experiments/scale_publishing.py", "sessions": sessions})
    return total


def measured(argv: list[str], directory: Path) -> str:
    """Wall and processor seconds, peak MiB and exit code of a command in a process of its own."""
    started = time.monotonic()
    command = [sys.executable, "-m", "edgeproof.cli", *argv]
    process = subprocess.Popen(command, cwd=directory, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    _, status, used = os.wait4(process.pid, 0)
    wall_s, cpu_s = time.monotonic() - started, used.ru_utime + used.ru_stime
    code = os.waitstatus_to_exitcode(status)
    return f"{wall_s:.2f} s, {cpu_s:.2f} s of processors, {used.ru_maxrss / 1024:.0f} MiB, exit code {code}"


def main(counts: list[int]) -> None:
    """Print what each command costs, a line a number of records and command."""
    for count in counts:
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch, "results/records")
            root.mkdir(parents=True)
            # A child's peak memory includes that of the parent it was forked from, which so must not make the records.
            with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:
                total = elsewhere.submit(make, root, count).result()
            size = sum(path.stat().st_size for path in store.beside(root).rglob("*.parquet"))
            print(f"{total} records, {size / 2**20:.1f} MiB of Parquet", flush=True)
            for name, argv in COMMANDS.items():
                print(f"  {name}: {measured(argv, Path(scratch))}", flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [1000])
