"""Where the pipeline keeps what it makes, relative to the project's root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

DATA = Path("data")
MODELS = Path("models")
ARTIFACTS = Path("artifacts")
RECORDS = Path("results/records")
TABLES = Path("results/tables")
PLOTS = Path("results/plots")
SITE = Path("results/site")
METRICS = Path("results/metrics.json")
WORK = Path(".edgeproof")


def model_dir(name: str, seeds: Sequence[int], seed: int) -> Path:
    """Where the model made from `seed` lies: the first seed's in the model's directory, the others' below it."""
    return MODELS / name if seed == seeds[0] else MODELS / name / f"seed_{seed}"


def artifact_name(scheme: str, seeds: Sequence[int], seed: int) -> str:
    """The directory of a model's artifact; those of other seeds than the first stand beside the first one's."""
    return scheme if seed == seeds[0] else f"{scheme}.seed_{seed}"
