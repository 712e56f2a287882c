"""A project directory in which 'edgeproof bench' measures external files within seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgeproof.cli import main

ROOT = Path(__file__).parents[2]
FASTER = {"warm_up_s: 1.0": "warm_up_s: 0.2", "min_duration_ms: 200": "min_duration_ms: 5"}


def write_project(root: Path) -> Path:
    """Copy what 'edgeproof bench' reads, and shorten the runs of the preset 'quick'. Returns `root`."""
    for name in ("conf", "devices"):
        shutil.copytree(ROOT / name, root / name)
    for lock in ("requirements.lock", "requirements-runtimes.lock"):
        shutil.copyfile(ROOT / lock, root / lock)
    quick = root / "conf/preset/quick.yaml"
    text = quick.read_text()
    for slow, fast in FASTER.items():
        text = text.replace(slow, fast)
    quick.write_text(text)
    return root


def run_bench(*argv: object) -> int:
    """Run 'edgeproof bench' with one short scenario and return its exit code."""
    return main.run(["bench", *map(str, argv), "--preset", "quick", "--scenarios", "single_stream"])
