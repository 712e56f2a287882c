"""Search a study's parameters: Optuna chooses the points, and the report keeps all that no other point dominates.

A search has no storage of its own. Its trials are always asked in the same order with the same seeds, and finished
points are read from the sweep's directory. So the same command after a kill reaches the same trials.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import optuna
from pydantic import Field, NonNegativeInt, PositiveInt

from edgeproof.config.task_metric import load_metric
from edgeproof.config.validation import Frozen
from edgeproof.core.errors import ConfigError
from edgeproof.statistics.metric import Metric
from edgeproof.sweeps import local_executor, report, results, sweep
from edgeproof.sweeps.pareto_front import compute_excess
from edgeproof.sweeps.points import FORMER_NAMES, VALIDATION_LIMIT, ComposedPoint, SweepPoint, SweepRequest
from edgeproof.sweeps.results import FIGURE_NAMES, is_more_better
from edgeproof.sweeps.search_space import SearchSpace
from edgeproof.sweeps.store import SweepStore
from edgeproof.sweeps.sweep import Launcher

SamplerName = Literal["nsga2", "tpe", "random"]
EXCESS_CONSTRAINT = "excess"
# The value and the excess of a point without figures. Every measured point is better.
PENALTY = 1e12
# Keeps the seeds of neighbouring trials apart.
SEED_STRIDE = 1_000_003


class SearchOptions(Frozen):
    """Options of a search, as conf/search/<name>.yaml holds them.

    Attributes:
        space: the values of each key in Hydra's grammar.
        objectives: names of the figures to optimize.
        limits: the worst acceptable value of each limited figure.
        trials: how many points to run.
        batch: how many trials are chosen at once, before their results are known.
    """

    space: dict[str, str] = Field(min_length=1)
    objectives: list[str] = Field(min_length=1)
    limits: dict[str, float] = {}
    trials: PositiveInt
    batch: int = Field(ge=2)
    sampler: SamplerName
    seed: NonNegativeInt


def run_search(
    name: str,
    options: SearchOptions,
    space: SearchSpace,
    compose: Callable[[Mapping[str, str]], ComposedPoint],
    *,
    workers: int = 1,
    launch: Launcher | None = None,
    starter: local_executor.PointStarter = local_executor.start_point,
) -> int:
    """Run the search `name` to its last trial and print its table. Return 0, or 1 if a point failed.

    Args:
        compose: makes a point from a value for each key of `space`. Raises ConfigError.

    Raises ConfigError when a figure does not exist or the study refuses a value at an end of the space.
    """
    metric = _check(options, space, compose)
    with sweep.hold_sweep_lock(name):
        store, code = sweep.open_store(name), sweep.snapshot_code()
        print(f"Search '{name}': {options.trials} trials by {options.sampler} for {', '.join(options.objectives)}.")
        study = create_study(options, metric)
        points: list[ComposedPoint] = []
        while len(points) < options.trials:
            size = min(options.batch, options.trials - len(points))
            trials = [ask_next_trial(study, options, len(points) + number) for number in range(size)]
            values = [{key: axis.suggest(trial, key) for key, axis in space.items()} for trial in trials]
            points += [compose(value) for value in values]
            request = sweep.write_request(store, code, points, options.objectives, options.limits)
            sweep.run_points(store, request, workers=workers, launch=launch, starter=starter)
            for trial, point in zip(trials, request.points[-size:], strict=True):
                _tell_result(study, trial, store, request, point, metric)
            print(f"{len(points)} of {options.trials} trials done.", flush=True)
        print(report.write_report(store, _compute_importance(study, options.objectives)), end="")
        return sweep.compute_exit_code(store, request)


def _check(options: SearchOptions, space: SearchSpace, compose: Callable[[Mapping[str, str]], ComposedPoint]) -> Metric:
    """Check the options and the ends of the space. Return the metric of the study's task."""
    for figure in options.objectives:
        _check_figure("search.objectives", figure, FIGURE_NAMES)
    for figure, limit in options.limits.items():
        _check_figure("search.limits", figure, (*FIGURE_NAMES, VALIDATION_LIMIT))
        if limit <= 0:
            raise ConfigError(f"search.limits.{figure} must be greater than 0 (given: {limit:g}).")
    lowest = {key: axis.list_probe_values()[0] for key, axis in space.items()}
    for key, axis in space.items():
        for value in axis.list_probe_values():
            compose({**lowest, key: value})
    return load_metric(compose(lowest).params.task.metric)


def _check_figure(key: str, figure: str, known: Sequence[str]) -> None:
    if figure in known:
        return
    hint = f" It is now called '{FORMER_NAMES[figure]}'." if figure in FORMER_NAMES else ""
    raise ConfigError(f"{key}: there is no figure '{figure}'.{hint} Figures: {', '.join(known)}.")


def create_study(options: SearchOptions, metric: Metric) -> optuna.Study:
    """Create Optuna's study in memory, with a direction for each objective."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    maximize, minimize = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
    directions = [maximize if is_more_better(figure, metric) else minimize for figure in options.objectives]
    return optuna.create_study(directions=directions)


def ask_next_trial(study: optuna.Study, options: SearchOptions, number: int) -> optuna.Trial:
    """Ask for trial `number`. Each trial has its own seed, so it is the same in a run that continues a search."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = _make_sampler(options, options.seed + SEED_STRIDE * number)
    return study.ask()


def _make_sampler(options: SearchOptions, seed: int) -> optuna.samplers.BaseSampler:
    if options.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if options.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=options.batch, multivariate=True)
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=options.batch)


def _tell_result(
    study: optuna.Study,
    trial: optuna.Trial,
    store: SweepStore,
    request: SweepRequest,
    point: SweepPoint,
    metric: Metric,
) -> None:
    """Tell the study a trial's values: for each objective the worst of the point's artifacts.

    The excess over the limits is a constraint: 0 within all limits, and a smaller excess is better (constrained
    domination, Deb et al. 2002). A point without figures gets the penalty.
    """
    rows = results.read_point_rows(store, point)
    are_more_better = [is_more_better(figure, metric) for figure in request.objectives]
    worst = [
        _find_worst(rows, figure, is_more) for figure, is_more in zip(request.objectives, are_more_better, strict=True)
    ]
    values = [value for value in worst if value is not None]
    if len(values) == len(worst):
        excesses = [max(compute_excess(row, name, limit) for row in rows) for name, limit in request.limits.items()]
        trial.set_constraint(EXCESS_CONSTRAINT, min(sum(max(0.0, excess) for excess in excesses), PENALTY))
        study.tell(trial, values)
    else:
        failure = store.read_failure(point.digest)
        trial.set_constraint(EXCESS_CONSTRAINT, (failure.excess if failure else None) or PENALTY)
        study.tell(trial, [-PENALTY if is_more else PENALTY for is_more in are_more_better])


def _find_worst(rows: Sequence[results.ResultRow], figure: str, is_more: bool) -> float | None:
    """Return the worst value of a figure, or None if it was not measured for one of the rows."""
    values = [value for row in rows if (value := row.get_figure(figure)) is not None]
    if len(values) < len(rows):
        return None
    return min(values) if is_more else max(values)


def _compute_importance(study: optuna.Study, objectives: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return, for each objective, the share of its variance over the space that each key explains.

    It uses functional ANOVA over a random forest (Hutter, Hoos and Leyton-Brown 2014), as a search is not a full grid.
    """
    trials = [trial for trial in study.trials if all(abs(value) < PENALTY for value in trial.values or [math.inf])]
    shares: dict[str, dict[str, float]] = {}
    for number, figure in enumerate(objectives):
        if len({trial.values[number] for trial in trials}) < 2:
            shares[figure] = {}
            continue
        single = optuna.create_study()
        single.add_trials(
            optuna.create_trial(value=trial.values[number], params=trial.params, distributions=trial.distributions)
            for trial in trials
        )
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares[figure] = optuna.importance.get_param_importances(single, evaluator=evaluator)
    return shares
