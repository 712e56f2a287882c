"""edgeproof sweep: run a study at many points, in Hydra's grammar.

    edgeproof sweep --multirun prune.ratio=0.3,0.5

Hydra composes every point before anything runs; edgeproof.sweeps then runs the points that are not finished. With
+search=<name>, and without --multirun, Optuna picks the points.

`edgeproof-sweep` is the same command as a program of its own, which Hydra's tab completion needs.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig
from pydantic import Field

from edgeproof import entry
from edgeproof.cli.output import show
from edgeproof.config import compose as config_compose
from edgeproof.config.conf_files import check_conf_files, list_conf_directories
from edgeproof.config.file_names import check_file_name
from edgeproof.config.validation import Frozen, validate
from edgeproof.core.errors import ConfigError, UnknownNameError
from edgeproof.sweeps import local_executor
from edgeproof.sweeps import sweep as sweeps_sweep
from edgeproof.sweeps.points import ComposedPoint
from edgeproof.sweeps.store import SweepStore

if TYPE_CHECKING:
    from edgeproof.sweeps.search_space import ChoiceAxis, RangeAxis

ROOT_CONFIG, POINT_CONFIG = "edgeproof_sweep", "edgeproof_points"
LOCAL_LAUNCHER = "basic"
LAUNCHER_PREFIXES = ("hydra/launcher=", "hydra.launcher.")
LAUNCHER_PACKAGES = {
    "joblib": "hydra-joblib-launcher",
    "ray": "hydra-ray-launcher",
    "ray_aws": "hydra-ray-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
}
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
SWEEP_KEYS = ("name", "workers", "search")
MAX_SHOWN_PROBLEMS = 5
MAX_SHOWN_CHARACTERS = 300
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
    composed = _compose_points(words)
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
    launch = _find_launcher(launcher_words)
    if options.search is not None:
        return _run_search(points, options, launch)
    return sweeps_sweep.run_sweep(options.name or _name_sweep(points), points, workers=options.workers, launch=launch)


def run() -> None:
    """Run the `edgeproof-sweep` command and exit."""
    entry.run(lambda: main(sys.argv[1:]))


# --- composing ---------------------------------------------------------------------------------------------------


def _compose_points(words: Sequence[str]) -> list[tuple[ComposedPoint, dict[str, Any]]]:
    """Return every point of the command, each with the sweep's own keys.

    Raises ConfigError with the problems of all points.
    """
    composed: list[tuple[ComposedPoint, dict[str, Any]]] = []
    problems: list[str] = []

    def compose_point(content: DictConfig) -> None:
        overrides = tuple(word for word in HydraConfig.get().overrides.task if _first_key(word) not in SWEEP_KEYS)
        try:
            params, own = config_compose.expand_composed(content, SWEEP_KEYS)
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
            _run_hydra(compose_point, directory, ROOT_CONFIG, [*words, f"hydra/launcher={LOCAL_LAUNCHER}"])
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


def _run_hydra(task: Callable[[DictConfig], None], directory: Path | None, config: str, words: Sequence[str]) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors instead of printing them, so that they can be reported here
    # Hydra's parser accepts overrides only after its options.
    sys.argv = [sys.argv[0], *sorted(words, key=_is_override)]
    hydra.main(version_base="1.3", config_path=str(directory) if directory else None, config_name=config)(task)()


def _name_sweep(points: Sequence[ComposedPoint]) -> str:
    """Return a name computed from the study and the overrides, so that the same command continues the same sweep."""
    overrides = sorted(" ".join(sorted(point.overrides)) for point in points)
    return f"{points[0].params.study}-{hashlib.sha256(repr(overrides).encode()).hexdigest()[:NAME_DIGITS]}"


# --- launching on other machines ---------------------------------------------------------------------------------


def _find_launcher(words: Sequence[str]) -> sweeps_sweep.Launcher | None:
    """Return a function that runs points with the given Hydra launcher, or None for this machine.

    Raises UnknownNameError for an unknown launcher and ConfigError for invalid options of it.
    """
    chosen = next((word.partition("=")[2] for word in words if word.startswith("hydra/launcher=")), LOCAL_LAUNCHER)
    known = [name.removesuffix(".yaml") for name in ConfigStore.instance().list("hydra/launcher")]
    if chosen not in known:
        package = LAUNCHER_PACKAGES.get(chosen)
        cure = f"Install it with 'pip install {package}'." if package else "Launchers are Hydra plugins."
        raise UnknownNameError("launcher", chosen, known, cure)
    if chosen == LOCAL_LAUNCHER:
        return None
    _register_point_config("")
    with config_compose.raise_config_errors(words), hydra.initialize(version_base="1.3", config_path=None):
        hydra.compose(POINT_CONFIG, [*words, "point=p"], return_hydra_config=True)

    def launch(store: SweepStore, digests: Sequence[str]) -> None:
        if digests:
            _register_point_config(store.name)
            # A digest may look like a number. Hydra reads it as text only with a letter before it.
            points = ",".join(f"p{digest}" for digest in digests)
            try:
                _run_hydra(run_point, None, POINT_CONFIG, ["--multirun", *words, f"point={points}"])
            except Exception as error:
                message = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_SHOWN_CHARACTERS]
                show(f"launcher '{chosen}' failed ({message}). Finished points are kept; run the command again.")

    return launch


def _register_point_config(sweep: str) -> None:
    """Register the configuration of a launcher's jobs."""
    node = {"root": str(Path.cwd()), "sweep": sweep, "point": "???"}
    content = {"defaults": [*NO_HYDRA_LOGS, "_self_"], "hydra": HYDRA_SETTINGS, **node}
    ConfigStore.instance().store(POINT_CONFIG, content)


def run_point(content: DictConfig) -> None:
    """Run one point as the job of a Hydra launcher, in a process of its own.

    A failed point becomes a row of the sweep's table and raises nothing.
    """
    os.chdir(content.root)
    local_executor.run_point(SweepStore(content.sweep), content.point[1:])


# --- searching ---------------------------------------------------------------------------------------------------


def _run_search(points: Sequence[ComposedPoint], options: SweepOptions, launch: sweeps_sweep.Launcher | None) -> int:
    from edgeproof.cli import smallest_search
    from edgeproof.sweeps import search as searching

    if len(points) > 1:
        raise ConfigError(
            "a search picks its points itself. Give each key one value, or change 'space' in conf/search/*.yaml."
        )
    assert options.search is not None
    if "goal" in options.search:
        if launch is not None:
            raise ConfigError("a search with a goal runs on this machine. Remove 'hydra/launcher'.")
        return smallest_search.run_composed(points[0], options.search, options.name, options.workers, parse_axis)
    given = validate(searching.SearchOptions, options.search, "search (conf/search/*.yaml)")
    space = {key: parse_axis(key, grammar) for key, grammar in given.space.items()}
    fixed = [word for word in points[0].overrides if word.partition("=")[0].lstrip("+") not in space]

    def compose(values: Mapping[str, str]) -> ComposedPoint:
        overrides = (*fixed, *(f"{key}={value}" for key, value in values.items()))
        return ComposedPoint(overrides, config_compose.compose(None, overrides))

    digest = hashlib.sha256(repr((sorted(fixed), given.model_dump())).encode()).hexdigest()[:NAME_DIGITS]
    name = options.name or f"{points[0].params.study}-search-{digest}"
    return searching.run_search(name, given, space, compose, workers=options.workers, launch=launch)


def parse_axis(key: str, grammar: str) -> RangeAxis | ChoiceAxis:
    """Parse a key's values in Hydra's grammar. Raises ConfigError for invalid or empty ones."""
    from edgeproof.sweeps.search_space import ChoiceAxis, RangeAxis

    with config_compose.raise_config_errors([f"{key}={grammar}"]):
        override = OverridesParser.create().parse_override(f"{key}={grammar}")
    value = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        if value.start >= value.end:
            raise ConfigError(f"search.space.{key}: {grammar} is empty. Put the lower end first.")
        return RangeAxis(value.start, value.end, None, "log" in value.tags, is_integer=False)
    if isinstance(value, RangeSweep):
        numbers = list(value.range())
        if not numbers:
            raise ConfigError(f"search.space.{key}: {grammar} is empty.")
        is_integer = all(isinstance(number, int) for number in numbers)
        return RangeAxis(numbers[0], numbers[-1], value.step, is_logarithmic=False, is_integer=is_integer)
    if override.is_sweep_override():
        return ChoiceAxis(tuple(override.sweep_string_iterator()))
    return ChoiceAxis((override.get_value_element_as_str(),))


if __name__ == "__main__":
    run()
