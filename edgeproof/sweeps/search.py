"""Search: Optuna picks the points, several figures are wanted at once, and all that no other point beats is kept.

A search has no storage of its own. Its trials are asked for in the same order with the same seeds each time, and what
is finished answers from the sweep's directory; so the same command after a kill comes to the same trials.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import optuna
from pydantic import Field, NonNegativeInt, PositiveInt

from edgeproof.config.params import Frozen
from edgeproof.core.errors import ConfigError
from edgeproof.sweeps import local_executor, report, results, sweep
from edgeproof.sweeps.results import MORE_IS_BETTER
from edgeproof.sweeps.store import VALIDATION, Asked, Point, Store
from edgeproof.sweeps.sweep import Launch, Wish

Sampler = Literal["nsga2", "tpe", "random"]
EXCESS = "excess"
DIGITS = 4
# Farther from any goal than what was measured: points that failed have no figures.
FAR = 1e12


class SearchOptions(Frozen):
    """conf/search/<name>.yaml: where to look, for what, within what, how long."""

    space: dict[str, str] = Field(min_length=1)
    objectives: list[str] = Field(min_length=1)
    limits: dict[str, float] = {}
    trials: PositiveInt
    batch: int = Field(ge=2)
    sampler: Sampler
    seed: NonNegativeInt


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included, in steps or without; on a logarithmic scale if that is said."""

    low: float
    high: float
    step: float | None
    logarithmic: bool
    whole: bool

    def pick(self, trial: optuna.Trial, key: str) -> str:
        """Let the trial choose, and write its choice down as an override does."""
        if self.whole:
            step = int(self.step or 1)
            return str(trial.suggest_int(key, int(self.low), int(self.high), step=step, log=self.logarithmic))
        value = trial.suggest_float(key, self.low, self.high, step=self.step, log=self.logarithmic)
        return f"{value:.{DIGITS}g}"

    def samples(self) -> list[str]:
        """Values of which one is refused if any is: the ends, and between them one that is no whole number."""
        if self.whole:
            return [str(int(self.low)), str(int(self.high))]
        between = [] if self.step else [(self.low + self.high) / 2 + (self.high - self.low) / 16]
        return [f"{value:.{DIGITS}g}" for value in (self.low, self.high, *between)]


@dataclass(frozen=True)
class Choice:
    """One of several values, as overrides write them."""

    values: tuple[str, ...]

    def pick(self, trial: optuna.Trial, key: str) -> str:
        """Let the trial choose."""
        chosen: str = trial.suggest_categorical(key, self.values)
        return chosen

    def samples(self) -> list[str]:
        """Every value: any may be refused."""
        return list(self.values)


Space = Mapping[str, Range | Choice]


def search(
    name: str,
    options: SearchOptions,
    space: Space,
    compose: Callable[[Mapping[str, str]], Wish],
    *,
    workers: int = 1,
    launch: Launch | None = None,
    starter: local_executor.Starter = local_executor.start,
) -> int:
    """Run the search `name` to its last trial and print its table; returns 0, or 1 where a point failed.

    Args:
        compose: makes a point of a value for every key of `space`. Raises ConfigError.

    Raises ConfigError for a figure that doesn't exist, or a value at an end of the space that no study can have.
    """
    _check(options, space, compose)
    with sweep.alone(name):
        store, code = Store(name), sweep.code_now()
        print(f"Search '{name}': {options.trials} trials by {options.sampler} for {', '.join(options.objectives)}.")
        study = new_study(options)
        wishes: list[Wish] = []
        while len(wishes) < options.trials:
            size = min(options.batch, options.trials - len(wishes))
            trials = [next_trial(study, options, len(wishes) + number) for number in range(size)]
            picked = [{key: axis.pick(trial, key) for key, axis in space.items()} for trial in trials]
            wishes += [compose(values) for values in picked]
            asked = sweep.ask(store, code, wishes, options.objectives, options.limits)
            sweep.run(store, asked, workers=workers, launch=launch, starter=starter)
            for trial, point in zip(trials, asked.points[-size:], strict=True):
                _tell(study, trial, store, asked, point)
            print(f"{len(wishes)} of {options.trials} trials done.", flush=True)
        print(report.write(store, _importance(study, options.objectives)), end="")
        return sweep.exit_code(store, asked)


def _check(options: SearchOptions, space: Space, compose: Callable[[Mapping[str, str]], Wish]) -> None:
    known = ", ".join(MORE_IS_BETTER)
    for figure in options.objectives:
        if figure not in MORE_IS_BETTER:
            raise ConfigError(f"search.objectives: no figure is called '{figure}'. Figures: {known}.")
    for figure, limit in options.limits.items():
        if figure not in (*MORE_IS_BETTER, VALIDATION):
            raise ConfigError(f"search.limits: no figure is called '{figure}'. Figures: {known}, {VALIDATION}.")
        if limit <= 0:
            raise ConfigError(f"search.limits.{figure} must be greater than 0 (given: {limit:g}).")
    lowest = {key: axis.samples()[0] for key, axis in space.items()}
    for key, axis in space.items():
        for value in axis.samples():
            compose({**lowest, key: value})


def new_study(options: SearchOptions) -> optuna.Study:
    """A study without a storage."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    better = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
    directions = [better[0] if MORE_IS_BETTER[figure] else better[1] for figure in options.objectives]
    return optuna.create_study(directions=directions)


def next_trial(study: optuna.Study, options: SearchOptions, number: int) -> optuna.Trial:
    """The next trial. Each has a seed of its own, so that it is the same whether or not others ran before it today."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = _sampler(options, options.seed + 1_000_003 * number)
    return study.ask()


def _sampler(options: SearchOptions, seed: int) -> optuna.samplers.BaseSampler:
    if options.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if options.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=options.batch, multivariate=True)
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=options.batch)


def _tell(study: optuna.Study, trial: optuna.Trial, store: Store, asked: Asked, point: Point) -> None:
    """Answer a trial with the worst of its point's artifacts; a point without figures with how hopeless it was.

    The excess is 0 within all limits; else a trial is better the nearer it is (Deb's constrained domination).
    """
    found = results.of_point(store, point)
    values = [_worst(found, figure) for figure in asked.objectives]
    known = [value for value in values if value is not None]
    if len(known) == len(values):
        over = [max(results.excess(line, name, limit) for line in found) for name, limit in asked.limits.items()]
        trial.set_constraint(EXCESS, min(sum(max(0.0, excess) for excess in over), FAR))
        study.tell(trial, known)
    else:
        failure = store.failure(point.digest) or {}
        trial.set_constraint(EXCESS, failure.get("excess") or FAR)
        study.tell(trial, [-FAR if MORE_IS_BETTER[figure] else FAR for figure in asked.objectives])


def _worst(found: Sequence[results.Line], figure: str) -> float | None:
    values = [line.figure(figure) for line in found]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return min(known) if MORE_IS_BETTER[figure] else max(known)


def _importance(study: optuna.Study, objectives: Sequence[str]) -> dict[str, dict[str, float]]:
    """Of each objective, the share of its variance over the space that a key explains.

    Functional ANOVA over a random forest (Hutter, Hoos and Leyton-Brown 2014), since a search is no grid.
    """
    told = [trial for trial in study.trials if all(abs(value) < FAR for value in trial.values or [math.inf])]
    shares: dict[str, dict[str, float]] = {}
    for number, figure in enumerate(objectives):
        if len({trial.values[number] for trial in told}) < 2:
            shares[figure] = {}
            continue
        known = optuna.create_study()
        known.add_trials(
            optuna.create_trial(value=trial.values[number], params=trial.params, distributions=trial.distributions)
            for trial in told
        )
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares[figure] = optuna.importance.get_param_importances(known, evaluator=evaluator)
    return shares
