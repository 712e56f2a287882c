"""Engines run the farm's jobs. Each is one file with a function `start(...)` that returns an Engine."""

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
    """The end of a job's process: its exit code, and its error message or last line."""

    code: int
    message: str


class Engine(Protocol):
    """Runs one job per call, and many calls in parallel.

    When `run_job` returns code 0, the job's records are in the history. Everything that the engine started ends with
    the farm, however the farm ends.
    """

    def run_job(self, job: str, reason: str | None) -> JobExit:
        """Run a job to its end, or abandon it for the given reason. Its output is appended to its log."""

    def stop(self) -> None:
        """End all running jobs, and start no others."""


def list_names() -> list[str]:
    """Return the names of all engines, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def start_engine(name: str, run_name: str, built: Path, params: Params, address: str | None) -> Engine:
    """Start an engine for a run.

    Args:
        name: one of `list_names()`.
        built: directory in which the study was built.
        address: address of the engine's cluster, if it has one.

    Raises UnknownNameError for an unknown engine, and ConfigError when the engine cannot use the address.
    """
    if name not in list_names():
        raise UnknownNameError("engine", name, list_names(), f"To add one, write edgeproof/farm/engines/{name}.py.")
    engine: Engine = importlib.import_module(f"{__name__}.{name}").start(run_name, built, params, address)
    return engine


def extract_error(output: bytes) -> str:
    """Return the last error message of a job's output, or its last line."""
    lines = output.decode(errors="replace").strip().splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith(ERROR_PREFIX)]
    message = " ".join(line.strip() for line in lines[starts[-1] if starts else -1 :])
    return message.removeprefix(ERROR_PREFIX)[:MAX_ERROR_CHARACTERS]
