"""Paths of everything that the pipeline writes, relative to the project's root, and of what edgeproof ships."""

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

# The root of a clone, from which edgeproof runs unless it is installed from a wheel.
SOURCES = Path(__file__).parents[1]


def find_shipped(name: str) -> Path:
    """Return the path of a file or directory that edgeproof ships: in its package in a wheel, else in the clone."""
    packed = Path(__file__).parent / name
    return packed if packed.exists() else SOURCES / name


def is_clone(directory: Path = Path()) -> bool:
    """Return True for a clone of edgeproof's repository, whose stages depend on its own files."""
    return (directory / "edgeproof" / "paths.py").is_file()


def locate_model(name: str, seeds: Sequence[int], seed: int) -> Path:
    """Return the directory of the model made from `seed`: models/<name> for the first seed, else a directory in it."""
    return MODELS / name if seed == seeds[0] else MODELS / name / f"seed_{seed}"


def name_artifact(scheme: str, seeds: Sequence[int], seed: int) -> str:
    """Return the directory name of a model's artifact: the scheme, with `.seed_<n>` for seeds other than the first."""
    return scheme if seed == seeds[0] else f"{scheme}.seed_{seed}"
