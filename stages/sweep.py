"""sweep: run a study at many points, in Hydra's own grammar: python -m stages.sweep --multirun prune.ratio=0.3,0.5.

Hydra composes every point before anything runs; edgeproof.sweeps runs those that are not finished.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import Field

from edgeproof import config, entry
from edgeproof.core.errors import ConfigError
from edgeproof.params import Frozen, checked
from edgeproof.sweeps import sweeping

ROOT = "edgeproof_sweep"
BASIC = "basic"
# Hydra's options that show something and run nothing.
SHOWING = ("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc")
# Hydra's own logs and directories say nothing that the sweep doesn't.
HYDRA = {
    "output_subdir": None,
    "run": {"dir": ".edgeproof/hydra"},
    "sweep": {"dir": ".edgeproof/hydra", "subdir": "."},
}
SHOWN_PROBLEMS = 5
NAME_DIGITS = 8

OWN_KEYS = ("name", "workers")


class Options(Frozen):
    """The keys of a sweep itself, given with a plus: +name=mine +workers=2."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    workers: int = Field(default=1, ge=1, le=256)


def main() -> int:
    """Compose every point, then run the sweep."""
    words = sys.argv[1:]
    composed = _composed(words)
    if not composed:
        if any(word.startswith(SHOWING) for word in words):
            return 0
        raise ConfigError("the grid is empty: a range or a choice among the overrides has no value.")
    wishes = [wish for wish, _ in composed]
    options = checked(Options, composed[0][1], "the sweep's own keys")
    if any(apart != composed[0][1] for _, apart in composed):
        raise ConfigError("name and workers are the whole sweep's and can't differ between its points.")
    return sweeping.sweep(options.name or _name(wishes), wishes, workers=options.workers)


def _composed(words: Sequence[str]) -> list[tuple[sweeping.Wish, dict[str, Any]]]:
    """Every point of the command, valid, with the sweep's own keys. Raises ConfigError for all problems."""
    composed: list[tuple[sweeping.Wish, dict[str, Any]]] = []
    problems: list[str] = []

    def point(content: DictConfig) -> None:
        given = HydraConfig.get().overrides.task
        overrides = tuple(word for word in given if word.partition("=")[0].lstrip("+") not in OWN_KEYS)
        try:
            params, apart = config.params_of(content, OWN_KEYS)
        except ConfigError as error:
            problems.append(f"{' '.join(overrides)}: {error}")
        else:
            composed.append((sweeping.Wish(overrides, params), apart))

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are ours to show
    sys.argv = [sys.argv[0], *words]
    with config.told_as_config_error(words), config.one_directory() as directory:
        _store(directory)
        hydra.main(version_base="1.3", config_path=str(directory), config_name=ROOT)(point)()
    if problems:
        shown = "\n".join(problems[:SHOWN_PROBLEMS])
        raise ConfigError(f"{len(problems)} point(s) can't be composed, so nothing runs:\n{shown}")
    return composed


def _store(directory: Any) -> None:
    config.store_root(directory)
    quiet = [{"override hydra/job_logging": "disabled"}, {"override hydra/hydra_logging": "disabled"}]
    ConfigStore.instance().store(ROOT, {"defaults": [config.ROOT, *quiet, "_self_"], "hydra": HYDRA})


def _name(wishes: Sequence[sweeping.Wish]) -> str:
    """A name that the same command gets again: the study's, with a digest of what is asked of it."""
    asked = sorted(" ".join(sorted(wish.overrides)) for wish in wishes)
    return f"{wishes[0].params.study}-{hashlib.sha256(repr(asked).encode()).hexdigest()[:NAME_DIGITS]}"


if __name__ == "__main__":
    entry.run(main)
