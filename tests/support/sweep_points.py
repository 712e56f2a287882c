"""Points of sweeps without DVC: a process that keeps the files a real one would, made beforehand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pytest

from edgeproof.config.params import Params
from edgeproof.core.directories import write_json, write_text
from edgeproof.report import tables
from edgeproof.report.rows import Row
from edgeproof.statistics.intervals import Estimate
from edgeproof.study import git, plan, worktrees
from edgeproof.sweeps import worktree_pool
from edgeproof.sweeps.local_executor import Phase
from edgeproof.sweeps.store import Store, values
from edgeproof.sweeps.sweep import Wish

# Takes the point's lock, does what is not done, and moves the prepared result into place at once, as a worker does.
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
    accuracy=Estimate(0.9, 0.8, 0.95),
    p50_ns=Estimate(50_000.0, 49_000.0, 51_000.0),
)


def wish(study: Params, *, ratio: float = 0.25, bits: int = 4, seed: int = 0) -> Wish:
    """A point of the digits study."""
    content = study.model_dump(mode="json", by_alias=True)
    content["prune"]["student_slim"]["options"]["ratio"] = ratio
    content["quantize"]["student_slim_w4"]["options"]["bits"] = bits
    content["task"]["seed"] = seed
    return Wish((f"prune.ratio={ratio}", f"quantize.bits={bits}", f"seed={seed}"), Params.model_validate(content))


@dataclass
class Starter:
    """Starts processes that take `seconds` and end as `behaviour` says of their overrides: done, failed or killed."""

    seconds: float = 0.0
    behaviour: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, Row] = field(default_factory=dict)

    def __call__(self, store: Store, digest: str, phase: Phase) -> subprocess.Popen[bytes]:
        """What `running.start` is in earnest."""
        self._prepare(store, digest)
        with store.begin_log(digest) as stream:
            return subprocess.Popen(
                [sys.executable, "-S", "-c", PROCESS, str(store.directory), digest, phase, str(self.seconds)],
                stdout=stream,
                start_new_session=True,
            )

    def _prepare(self, store: Store, digest: str) -> None:
        asked, params = store.asked(), store.params(digest)
        point = next(point for point in asked.points if point.digest == digest)
        place = store.directory / "prepared" / digest
        write_text(place / "behaviour", _first(self.behaviour, point.overrides, "done"))
        write_json(place / "stages", plan.stages(params))
        if (place / "result").exists() or store.point(digest).exists():
            return
        ratio, bits = (float(values(point)[key]) for key in ("prune.ratio", "quantize.bits"))
        made = replace(ROW, accuracy=Estimate(1 - ratio / bits, 0.1, 1.0), size_bytes=round(1000 * (1 - ratio) * bits))
        row = _first(self.rows, point.overrides, made)
        result = place / "result"
        write_json(result / "tables/table.json", tables.json_content([row], study=params.study))
        write_text(result / "params.yaml", store.params_file(digest).read_text())
        models = {"teacher": {"sha256": "b" * 64, "validation_accuracy": 0.9}}
        write_json(result / "point.json", {"models": models, "code": asdict(asked.code)})


def _first(of: Mapping[str, T], overrides: Sequence[str], otherwise: T) -> T:
    return next((of[word] for word in overrides if word in of), otherwise)


def started(store: Store) -> list[str]:
    """Every point and phase whose process did anything, in order."""
    path = store.directory / "started"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project whose code never changes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worktree_pool, "prepare_code", lambda: "c" * 64)
    monkeypatch.setattr(git, "git", lambda *words: "h" * 40)
    monkeypatch.setattr(worktrees, "changed_since_head", lambda: [])
    return tmp_path
