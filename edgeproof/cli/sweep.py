"""edgeproof sweep: run a study at many points, in Hydra's grammar.

    edgeproof sweep --multirun prune.ratio=0.3,0.5

Hydra composes every point before anything runs; edgeproof.sweeps then runs the points that are not finished. With
+search=<name>, and without --multirun, Optuna picks the points.

`edgeproof-sweep` is the same command as a program of its own, which Hydra's tab completion needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from edgeproof.cli.hydra_launchers import find_launcher
from edgeproof.cli.hydra_points import compose_points
from edgeproof.config import compose as config_compose
from edgeproof.config.file_names import check_file_name
from edgeproof.config.validation import Frozen, validate
from edgeproof.core.errors import ConfigError
from edgeproof.sweeps import sweep as sweeps_sweep
from edgeproof.sweeps.points import ComposedPoint

LAUNCHER_PREFIXES = ("hydra/launcher=", "hydra.launcher.")
# Options of Hydra that print something and run nothing.
PRINTING_OPTIONS = (
    "--help",
    "-h",
    "--hydra-help",
    "--version",
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--shell-completion",
    "-sc",
)
SWEEP_KEYS = ("name", "workers", "search")
NAME_DIGITS = 8


class SweepOptions(Frozen):
    """Options of the sweep itself, given with a plus: +name=mine +workers=2 +search=within_a_budget."""

    name: str | None = None
    workers: int = Field(default=1, ge=1, le=256)
    search: dict[str, Any] | None = None


def main(arguments: Sequence[str]) -> int:
    """Compose every point, then run the sweep; return its exit code.

    Raises ConfigError when a point, a launcher or an option of the sweep is invalid. Then nothing has run.
    """
    launcher_words = [word for word in arguments if word.lstrip("+~").startswith(LAUNCHER_PREFIXES)]
    words = [word for word in arguments if word not in launcher_words]
    if any(word.startswith("hydra/sweeper=") for word in words):
        raise ConfigError("'hydra/sweeper' cannot be changed. To search for good points, use +search=<name>.")
    composed = compose_points(words, SWEEP_KEYS)
    if not composed:
        if any(word.startswith(PRINTING_OPTIONS) for word in words):
            return 0
        raise ConfigError("the grid is empty: a range or choice among the overrides has no value.")
    points = [point for point, _ in composed]
    own = composed[0][1]
    if any(other != own for _, other in composed):
        raise ConfigError(f"{', '.join(SWEEP_KEYS)} apply to the whole sweep. Give each of them one value.")
    options = validate(SweepOptions, own, "the sweep's own keys")
    if options.name is not None:
        check_file_name("sweep", options.name)
    launch = find_launcher(launcher_words)
    if options.search is not None:
        return _run_search(points, options, launch)
    return sweeps_sweep.run_sweep(options.name or _name_sweep(points), points, workers=options.workers, launch=launch)


def _name_sweep(points: Sequence[ComposedPoint]) -> str:
    """Return a name computed from the study and the overrides, so that the same command continues the same sweep."""
    overrides = sorted(" ".join(sorted(point.overrides)) for point in points)
    return f"{points[0].params.study}-{hashlib.sha256(repr(overrides).encode()).hexdigest()[:NAME_DIGITS]}"


def _run_search(points: Sequence[ComposedPoint], options: SweepOptions, launch: sweeps_sweep.Launcher | None) -> int:
    from edgeproof.cli import smallest_search
    from edgeproof.cli.hydra_axes import parse_axis
    from edgeproof.sweeps import search as searching

    if len(points) > 1:
        raise ConfigError(
            "a search picks its points itself. Give each key one value, or change 'space' in conf/search/*.yaml."
        )
    assert options.search is not None
    if "goal" in options.search:
        if launch is not None:
            raise ConfigError("a search with a goal runs on this machine. Remove 'hydra/launcher'.")
        return smallest_search.run_composed(points[0], options.search, options.name, options.workers)
    given = validate(searching.SearchOptions, options.search, "search (conf/search/*.yaml)")
    space = {key: parse_axis(key, grammar) for key, grammar in given.space.items()}
    fixed = [word for word in points[0].overrides if word.partition("=")[0].lstrip("+") not in space]

    def compose(values: Mapping[str, str]) -> ComposedPoint:
        overrides = (*fixed, *(f"{key}={value}" for key, value in values.items()))
        return ComposedPoint(overrides, config_compose.compose(None, overrides))

    digest = hashlib.sha256(repr((sorted(fixed), given.model_dump())).encode()).hexdigest()[:NAME_DIGITS]
    name = options.name or f"{points[0].params.study}-search-{digest}"
    return searching.run_search(name, given, space, compose, workers=options.workers, launch=launch)
