"""What runs the farm's jobs: one file an engine, each with `start(...)` that returns an Engine."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeproof.config.params import Params
from edgeproof.core.errors import UnknownNameError
from edgeproof.paths import WORK

FARM = WORK / "farm"
HISTORY = Path("results/history")
PARAMS = "params.yaml"
JOURNAL = "journal.jsonl"
LOGS = "logs"
MAX_ERROR_CHARACTERS = 500
ERROR_PREFIX = "error: "


@dataclass(frozen=True)
class JobExit:
    """How a job's process ended: its exit code, and the last of what it said."""

    code: int
    message: str


class Engine(Protocol):
    """Runs one job a call, many calls at once.

    A job that ends with code 0 has its records in the history before `start` returns. What the engine began ends with
    it, however the farm ends.
    """

    def start(self, job: str, reason: str | None) -> JobExit:
        """Run a job to its end; with a reason abandon it instead. Its output is added to its log."""

    def end(self) -> None:
        """End what is running, and start nothing any more."""


def names() -> list[str]:
    """The engines there are, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def start_engine(name: str, run_name: str, built: Path, params: Params, address: str | None) -> Engine:
    """Start an engine for a run. Raises UnknownNameError, and ConfigError for an address that it can't use."""
    if name not in names():
        raise UnknownNameError("engine", name, names(), f"To add one: edgeproof/farm/engines/{name}.py.")
    engine: Engine = importlib.import_module(f"{__name__}.{name}").start(run_name, built, params, address)
    return engine


def extract_error(said: bytes) -> str:
    """What a job's output says of its failure: its error message, else its last line."""
    lines = said.decode(errors="replace").strip().splitlines()
    messages = [place for place, line in enumerate(lines) if line.startswith(ERROR_PREFIX)]
    told = " ".join(line.strip() for line in lines[messages[-1] if messages else -1 :])
    return told.removeprefix(ERROR_PREFIX)[:MAX_ERROR_CHARACTERS]
