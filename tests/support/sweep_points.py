"""Points of sweeps without DVC: a process that stores files prepared beforehand instead of running stages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from edgeproof.config.params import Params
from edgeproof.core.directories import write_atomically, write_json, write_text
from edgeproof.report import row_data
from edgeproof.report.row import Row
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import ACCURACY, ACCURACY_NAME
from edgeproof.study import plan
from edgeproof.sweeps.local_executor import PointPhase
from edgeproof.sweeps.outcomes import ModelSummary, PointOutcome
from edgeproof.sweeps.points import ComposedPoint, parse_overrides
from edgeproof.sweeps.store import SweepStore

# Takes the point's lock and moves the prepared result into place at once, as a worker does.
PROCESS = """
import fcntl, json, os, sys, time
directory, digest, phase, seconds = sys.argv[1:]
os.makedirs(f"{directory}/locks", exist_ok=True)
lock = open(f"{directory}/locks/{digest}", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
if os.path.exists(f"{directory}/points/{digest}"):
    sys.exit(0)
with open(f"{directory}/started", "a") as file:
    file.write(f"{digest} {phase}\\n")
time.sleep(float(seconds))
behaviour = open(f"{directory}/prepared/{digest}/behaviour").read()
if behaviour == "killed":
    os.kill(os.getpid(), 9)
if behaviour == "failed":
    print("the last word")
    sys.exit(3)
stages = json.load(open(f"{directory}/prepared/{digest}/stages"))
with open(f"{directory}/journal.jsonl", "a") as file:
    for stage in stages:
        line = {"point": digest, "stage": stage, "key": stages[stage], "outcome": "ran", "seconds": 1.0}
        file.write(json.dumps(line) + "\\n")
if phase == "build":
    os.makedirs(f"{directory}/built", exist_ok=True)
    open(f"{directory}/built/{digest}", "w").close()
else:
    os.makedirs(f"{directory}/points", exist_ok=True)
    os.rename(f"{directory}/prepared/{digest}/result", f"{directory}/points/{digest}")
"""
T = TypeVar("T")
ROW = Row(
    device="local",
    runtime="onnx",
    model="student_slim_w4",
    scheme="int8-static",
    method="round_weights",
    parent="student_slim",
    teacher=None,
    verdict="valid",
    reasons=(),
    parameters=100,
    macs=1000,
    weight_sparsity=0.0,
    artifact_sha256="a" * 64,
    size_bytes=1000,
    metric_name=ACCURACY_NAME,
    metric=ACCURACY,
    quality=Estimate(0.9, 0.8, 0.95),
    p50_ns=Estimate(50_000.0, 49_000.0, 51_000.0),
)


def compose_point(study: Params, *, ratio: float = 0.25, bits: int = 4, seed: int = 0) -> ComposedPoint:
    """Return a point of the digits study."""
    content = study.model_dump(mode="json", by_alias=True)
    content["prune"]["student_slim"]["options"]["ratio"] = ratio
    content["quantize"]["student_slim_w4"]["options"]["bits"] = bits
    content["task"]["seed"] = seed
    return ComposedPoint(
        (f"prune.ratio={ratio}", f"quantize.bits={bits}", f"seed={seed}"), Params.model_validate(content)
    )


@dataclass
class StubStarter:
    """Starts stub processes that take `duration_s`.

    Attributes:
        behaviour: how processes with an override end: done, failed or killed. Others are done.
        rows: table rows of points with an override.
    """

    duration_s: float = 0.0
    behaviour: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, Row] = field(default_factory=dict)

    def __call__(self, store: SweepStore, digest: str, phase: PointPhase) -> subprocess.Popen[bytes]:
        """Start a process in place of `local_executor.start_point`."""
        self._prepare(store, digest)
        with store.open_log(digest) as stream:
            return subprocess.Popen(
                [sys.executable, "-S", "-c", PROCESS, str(store.directory), digest, phase, str(self.duration_s)],
                stdout=stream,
                start_new_session=True,
            )

    def _prepare(self, store: SweepStore, digest: str) -> None:
        request, params = store.read_request(), store.load_params(digest)
        point = next(point for point in request.points if point.digest == digest)
        place = store.directory / "prepared" / digest
        write_text(place / "behaviour", _first(self.behaviour, point.overrides, "done"))
        write_json(place / "stages", plan.list_stages(params))
        if (place / "result").exists() or store.point_directory(digest).exists():
            return
        ratio, bits = (float(parse_overrides(point)[key]) for key in ("prune.ratio", "quantize.bits"))
        default = replace(
            ROW, quality=Estimate(1 - ratio / bits, 0.1, 1.0), size_bytes=round(1000 * (1 - ratio) * bits)
        )
        row = _first(self.rows, point.overrides, default)
        models = {"teacher": ModelSummary("b" * 64, 0.9)}
        with write_atomically(place / "result") as result:  # a test may kill this process at any moment
            write_json(result / "tables/table.json", row_data.describe_rows([row], study=params.study))
            write_text(result / "params.yaml", store.params_path(digest).read_text())
            store.write_outcome(result, PointOutcome(point.overrides, request.code, models, [], "experiment"))


def _first(values: Mapping[str, T], overrides: Sequence[str], default: T) -> T:
    return next((values[word] for word in overrides if word in values), default)


def list_started(store: SweepStore) -> list[str]:
    """Return every point and phase whose process did anything, in order."""
    path = store.directory / "started"
    return path.read_text().splitlines() if path.exists() else []
