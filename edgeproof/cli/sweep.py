"""sweep: run a study at many points, in Hydra's own grammar: edgeproof-sweep --multirun prune.ratio=0.3,0.5.

Hydra composes every point before anything runs; edgeproof.sweeps runs those that are not finished. Without --multirun,
+search=<name> lets Optuna pick the points.
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
from edgeproof.config import compose as config_compose
from edgeproof.config.params import Frozen, checked
from edgeproof.core.errors import ConfigError, UnknownName
from edgeproof.sweeps import local_executor
from edgeproof.sweeps import sweep as sweeps_sweep
from edgeproof.sweeps.store import Store
from edgeproof.sweeps.sweep import Wish

if TYPE_CHECKING:
    from edgeproof.sweeps import search as searching

ROOT, POINTS = "edgeproof_sweep", "edgeproof_points"
HERE = "basic"
LAUNCHERS = ("hydra/launcher=", "hydra.launcher.")
PLUGINS = {
    "joblib": "hydra-joblib-launcher",
    "ray": "hydra-ray-launcher",
    "ray_aws": "hydra-ray-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
}
# Hydra's options that show something and run nothing.
SHOWING = ("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc")
# Hydra's own logs and directories say nothing that the sweep doesn't.
QUIET = [{"override hydra/job_logging": "disabled"}, {"override hydra/hydra_logging": "disabled"}]
OUT_OF_THE_WAY = {
    "output_subdir": None,
    "run": {"dir": ".edgeproof/hydra"},
    "sweep": {"dir": ".edgeproof/hydra", "subdir": "."},
}
OWN_KEYS = ("name", "workers", "search")
SHOWN_PROBLEMS = 5
SHOWN_CHARACTERS = 300
NAME_DIGITS = 8


class Options(Frozen):
    """The keys of a sweep itself, given with a plus: +name=mine +workers=2 +search=within_a_budget."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")
    workers: int = Field(default=1, ge=1, le=256)
    search: dict[str, Any] | None = None


def main() -> int:
    """Compose every point, then run the sweep."""
    launcher_words = [word for word in sys.argv[1:] if word.lstrip("+~").startswith(LAUNCHERS)]
    words = [word for word in sys.argv[1:] if word not in launcher_words]
    if any(word.startswith("hydra/sweeper=") for word in words):
        raise ConfigError("points are enumerated by Hydra's basic sweeper; to search them, use +search=<name>.")
    composed = _composed(words)
    if not composed:
        if any(word.startswith(SHOWING) for word in words):
            return 0
        raise ConfigError("the grid is empty: a range or a choice among the overrides has no value.")
    wishes = [wish for wish, _ in composed]
    own = composed[0][1]
    if any(apart != own for _, apart in composed):
        raise ConfigError(f"{', '.join(OWN_KEYS)} are the whole sweep's and can't differ between its points.")
    options = checked(Options, own, "the sweep's own keys")
    launch = _launch(launcher_words)
    if options.search is not None:
        return _search(wishes, options, launch)
    return sweeps_sweep.sweep(options.name or _name(wishes), wishes, workers=options.workers, launch=launch)


# --- composing ---------------------------------------------------------------------------------------------------


def _composed(words: Sequence[str]) -> list[tuple[Wish, dict[str, Any]]]:
    """Every point of the command, valid, with the sweep's own keys. Raises ConfigError for all problems."""
    composed: list[tuple[Wish, dict[str, Any]]] = []
    problems: list[str] = []

    def point(content: DictConfig) -> None:
        overrides = tuple(word for word in HydraConfig.get().overrides.task if _key(word) not in OWN_KEYS)
        try:
            params, apart = config_compose.params_of(content, OWN_KEYS)
        except ConfigError as error:
            problems.append(f"{' '.join(overrides)}: {error}")
        else:
            composed.append((Wish(overrides, params), apart))

    with config_compose.told_as_config_error(words), config_compose.one_directory() as directory:
        config_compose.store_root(directory)
        ConfigStore.instance().store(
            ROOT, {"defaults": [config_compose.ROOT, *QUIET, "_self_"], "hydra": OUT_OF_THE_WAY}
        )
        try:
            # Whatever launcher a named sweep asks for, points are composed here.
            _run_hydra(point, directory, ROOT, [*words, f"hydra/launcher={HERE}"])
        except HydraException as error:
            if "does not support sweep type" not in str(error):
                raise
            raise ConfigError("a grid can't hold an interval, which has no steps; +search=<name> can.") from None
    if problems:
        shown = "\n".join(problems[:SHOWN_PROBLEMS])
        raise ConfigError(f"{len(problems)} point(s) can't be composed, so nothing runs:\n{shown}")
    return composed


def _is_override(word: str) -> bool:
    return not word.startswith("-") and ("=" in word or word.startswith("~"))


def _key(word: str) -> str:
    """The first part of an override's key."""
    return word.partition("=")[0].lstrip("+").partition(".")[0]


def _run_hydra(task: Callable[[DictConfig], None], directory: Path | None, root: str, words: Sequence[str]) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are ours to show
    # Its parser takes overrides after its options alone.
    sys.argv = [sys.argv[0], *sorted(words, key=_is_override)]
    hydra.main(version_base="1.3", config_path=str(directory) if directory else None, config_name=root)(task)()


def _name(wishes: Sequence[Wish]) -> str:
    """A name that the same command gets again: the study's, with a digest of what is asked of it."""
    asked = sorted(" ".join(sorted(wish.overrides)) for wish in wishes)
    return f"{wishes[0].params.study}-{hashlib.sha256(repr(asked).encode()).hexdigest()[:NAME_DIGITS]}"


# --- launching elsewhere -----------------------------------------------------------------------------------------


def _launch(words: Sequence[str]) -> sweeps_sweep.Launch | None:
    """What runs points by the Hydra launcher that the command names; None for this machine. Raises ConfigError."""
    chosen = next((word.partition("=")[2] for word in words if word.startswith("hydra/launcher=")), HERE)
    known = [name.removesuffix(".yaml") for name in ConfigStore.instance().list("hydra/launcher")]
    if chosen not in known:
        package = PLUGINS.get(chosen)
        raise UnknownName(
            "launcher", chosen, known, f"It comes with 'pip install {package}'." if package else "It is a Hydra plugin."
        )
    if chosen == HERE:
        return None
    _store_points("")
    with config_compose.told_as_config_error(words), hydra.initialize(version_base="1.3", config_path=None):
        hydra.compose(POINTS, [*words, "point=p"], return_hydra_config=True)

    def launch(store: Store, digests: Sequence[str]) -> None:
        if digests:
            _store_points(store.name)
            # A digest may look like a number; with a letter before it, it is text in any grammar.
            points = ",".join(f"p{digest}" for digest in digests)
            try:
                _run_hydra(run_point, None, POINTS, ["--multirun", *words, f"point={points}"])
            except Exception as error:
                told = " ".join(f"{type(error).__name__}: {error}".split())[:SHOWN_CHARACTERS]
                print(f"launcher '{chosen}' gave up ({told}). What is finished is kept; the same command continues.")

    return launch


def _store_points(sweep: str) -> None:
    """Register what a launcher's jobs are configured by."""
    node = {"root": str(Path.cwd()), "sweep": sweep, "point": "???"}
    ConfigStore.instance().store(POINTS, {"defaults": [*QUIET, "_self_"], "hydra": OUT_OF_THE_WAY, **node})


def run_point(content: DictConfig) -> None:
    """One job of a Hydra launcher: one point, in a process of its own. Its failure is a row, not an exception."""
    os.chdir(content.root)
    local_executor.run_one(Store(content.sweep), content.point[1:])


# --- searching ---------------------------------------------------------------------------------------------------


def _search(wishes: Sequence[Wish], options: Options, launch: sweeps_sweep.Launch | None) -> int:
    from edgeproof.sweeps import search as searching

    if len(wishes) > 1:
        raise ConfigError("a search picks its points itself: give it one value a key, or its 'space' in conf/search/.")
    given = checked(searching.SearchOptions, options.search, "search (conf/search/*.yaml)")
    space = {key: _axis(key, grammar) for key, grammar in given.space.items()}
    fixed = [word for word in wishes[0].overrides if word.partition("=")[0].lstrip("+") not in space]

    def compose(values: Mapping[str, str]) -> Wish:
        overrides = (*fixed, *(f"{key}={value}" for key, value in values.items()))
        return Wish(overrides, config_compose.compose(None, overrides))

    digest = hashlib.sha256(repr((sorted(fixed), given.model_dump())).encode()).hexdigest()[:NAME_DIGITS]
    name = options.name or f"{wishes[0].params.study}-search-{digest}"
    return searching.search(name, given, space, compose, workers=options.workers, launch=launch)


def _axis(key: str, grammar: str) -> searching.Range | searching.Choice:
    """A key's values, from Hydra's grammar. Raises ConfigError."""
    from edgeproof.sweeps.search import Choice, Range

    with config_compose.told_as_config_error([f"{key}={grammar}"]):
        override = OverridesParser.create().parse_override(f"{key}={grammar}")
    value = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        if value.start >= value.end:
            raise ConfigError(f"search.space.{key}: {grammar} is empty; the lower end comes first.")
        return Range(value.start, value.end, None, "log" in value.tags, whole=False)
    if isinstance(value, RangeSweep):
        numbers = list(value.range())
        if not numbers:
            raise ConfigError(f"search.space.{key}: {grammar} is empty.")
        whole = all(isinstance(number, int) for number in numbers)
        return Range(numbers[0], numbers[-1], value.step, logarithmic=False, whole=whole)
    if override.is_sweep_override():
        return Choice(tuple(override.sweep_string_iterator()))
    return Choice((override.get_value_element_as_str(),))


def run() -> None:
    """The `edgeproof-sweep` command."""
    entry.run(main)


if __name__ == "__main__":
    run()
