"""Compose the points of a sweep: Hydra expands the grid of the overrides and composes each point in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig

from edgeproof.config import compose as config_compose
from edgeproof.config.conf_files import check_conf_files, list_conf_directories
from edgeproof.core.errors import ConfigError
from edgeproof.sweeps.points import ComposedPoint

ROOT_CONFIG = "edgeproof_sweep"
LOCAL_LAUNCHER = "basic"
HELP_HEADER = """usage: edgeproof sweep [-m] [KEY=VALUE,VALUE ...] [+name=NAME] [+workers=N]
                       [+sweep=NAME | +search=NAME]

Run a study at many points. A stage that several points share runs once.

  edgeproof sweep --multirun study=digits prune.ratio=0.3,0.5    the grid of all values
  edgeproof sweep study=digits prune.ratio=0.4                   one point
  edgeproof sweep +sweep=pareto study=digits                     a sweep saved in conf/sweep
  edgeproof sweep +search=within_a_budget study=digits           a search with Optuna, saved in conf/search

The same command continues a sweep that was interrupted. 'edgeproof sweep --hydra-help' shows Hydra's own options."""
# The sweep has its own logs and directories, so Hydra's are switched off.
NO_HYDRA_LOGS = [{"override hydra/job_logging": "disabled"}, {"override hydra/hydra_logging": "disabled"}]
HYDRA_SETTINGS = {
    "output_subdir": None,
    "run": {"dir": ".edgeproof/hydra"},
    "sweep": {"dir": ".edgeproof/hydra", "subdir": "."},
    "help": {"app_name": "edgeproof sweep", "header": HELP_HEADER},
}
MAX_SHOWN_PROBLEMS = 5


def compose_points(words: Sequence[str], own_keys: Sequence[str]) -> list[tuple[ComposedPoint, dict[str, Any]]]:
    """Return every point of the command, each with the values of the keys `own_keys`, which belong to the sweep.

    Raises ConfigError with the problems of all points.
    """
    composed: list[tuple[ComposedPoint, dict[str, Any]]] = []
    problems: list[str] = []

    def compose_point(content: DictConfig) -> None:
        overrides = tuple(word for word in HydraConfig.get().overrides.task if _first_key(word) not in own_keys)
        try:
            params, own = config_compose.expand_composed(content, own_keys)
        except ConfigError as error:
            problems.append(f"{' '.join(overrides)}: {error}")
        else:
            composed.append((ComposedPoint(overrides, params), own))

    check_conf_files(list_conf_directories(config_compose.CONF), config_compose.LIBRARIES, words)
    with config_compose.raise_config_errors(words), config_compose.merge_conf_directories() as directory:
        config_compose.register_definitions(directory)
        content = {"defaults": [config_compose.ROOT, *NO_HYDRA_LOGS, "_self_"], "hydra": HYDRA_SETTINGS}
        ConfigStore.instance().store(ROOT_CONFIG, content)
        try:
            # A named sweep may set another launcher, but points are always composed in this process.
            run_hydra(compose_point, directory, ROOT_CONFIG, [*words, f"hydra/launcher={LOCAL_LAUNCHER}"])
        except HydraException as error:
            if "does not support sweep type" not in str(error):
                raise
            raise ConfigError(
                "a grid cannot contain an interval, which has no steps. Use range(…), or +search=<name>."
            ) from None
    if problems:
        shown = "\n".join(problems[:MAX_SHOWN_PROBLEMS])
        raise ConfigError(f"{len(problems)} point(s) cannot be composed, so nothing runs:\n{shown}")
    return composed


def _is_override(word: str) -> bool:
    return not word.startswith("-") and ("=" in word or word.startswith("~"))


def _first_key(word: str) -> str:
    """Return the first part of an override's key: 'prune' of '+prune.ratio=0.3'."""
    return word.partition("=")[0].lstrip("+").partition(".")[0]


def run_hydra(task: Callable[[DictConfig], None], directory: Path | None, config: str, words: Sequence[str]) -> None:
    """Let Hydra call a task once for each point of the overrides and options in `words`.

    Hydra reads sys.argv, which is replaced. Raises HydraException for wrong overrides.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors instead of printing them, so that they can be reported here
    # Hydra's parser accepts overrides only after its options.
    sys.argv = [sys.argv[0], *sorted(words, key=_is_override)]
    hydra.main(version_base="1.3", config_path=str(directory) if directory else None, config_name=config)(task)()
