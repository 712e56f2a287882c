"""A project with one device, a runtime of one matrix and two artifacts, in which sessions run within seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.bench.session import BenchSession
from edgeproof.bench.subject import build_subject
from edgeproof.config.params import BenchParams, Params
from edgeproof.core import directories
from tests.support import tiny_task
from tests.support.verdict_limits import TOLERANT

SESSION = "desk_matrix"
SINGLE_STREAM = {"scenario": "SingleStream", "settings": {"min_duration_ms": 5, "min_query_count": 200}}
SERVER = {
    "scenario": "Server",
    "settings": {"min_duration_ms": 5, "min_query_count": 600, "server_target_latency_ns": 10**9},
    "load": 0.01,
}
ITEM: dict[str, Any] = {
    "device": "desk",
    "transport": "local",
    "runtime": "matrix",
    "session": 1,
    "preset": "quick",
    "processes": 1,
    "warm_up_s": 0.2,
    "cool_down_s": 0.0,
    "compliance": [],
    "quality_target": 0.5,
    "seed": 0,
    "artifacts": {"m": ["fp32", "int8-static"]},
    "seeds": [4, 7],
    "final": {"m": ["fp32"]},
    "every": {"single_stream": SINGLE_STREAM},
    "all": {"single_stream": SINGLE_STREAM, "server": SERVER},
    "packages": {},
}


def build_study(digits_study: Params, **changes: Any) -> Params:
    """Return a study with the session SESSION, whose parameters are ITEM with the given changes."""
    item = BenchParams.model_validate({**ITEM, **changes})
    task = digits_study.task.model_copy(update={"name": "tiny"})
    return digits_study.model_copy(update={"study": "tiny", "task": task, "bench": {SESSION: item}})


def open_session(digits_study: Params, **changes: Any) -> BenchSession:
    """Return a session of such a study, whose runs no state of the machine refuses."""
    study = build_study(digits_study, **changes)
    item = study.bench[SESSION]
    return BenchSession(item, build_subject(item, study), TOLERANT)


def write_project(root: Path, runtime: str = tiny_task.RUNTIME, timeout_s: int = 60) -> None:
    """Write data, a card and two artifacts for two seeds: a matrix, and one that is unsupported."""
    tiny_task.write_plugins(root / "plugins", runtime)
    tiny_task.write_data(root / "data")
    (root / "devices").mkdir()
    (root / "devices" / "desk.yaml").write_text(f"transport: local\nthreads: 1\ntimeout_s: {timeout_s}\n")
    for name, meta in (
        ("fp32", {"output_shape": [1, 3], "size_bytes": 10}),
        ("fp32.seed_7", {"output_shape": [1, 3], "size_bytes": 10}),
        ("int8-static", {"unsupported": "a matrix has no integers"}),
        ("int8-static.seed_7", {"unsupported": "a matrix has no integers"}),
    ):
        scheme, _, seed = name.partition(".seed_")
        model = {"method": "train", "lineage": {}, "parameters": 24, "macs": 24, "weight_sparsity": 0.0}
        model["seed"] = int(seed or 4)
        with directories.write_atomically(root / "artifacts" / "matrix" / "m" / name) as out:
            if "unsupported" not in meta:
                np.save(out / "matrix.npy", tiny_task.matrix() * (-1 if seed else 1))
            directories.write_meta(out, {**meta, "scheme": scheme, "runtime": "matrix", "model": model})
