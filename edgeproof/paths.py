"""Where the pipeline keeps what it makes, relative to the project's root."""

from __future__ import annotations

from pathlib import Path

DATA = Path("data")
MODELS = Path("models")
ARTIFACTS = Path("artifacts")
RECORDS = Path("results/records")
TABLES = Path("results/tables")
PLOTS = Path("results/plots")
METRICS = Path("results/metrics.json")
WORK = Path(".edgeproof")
