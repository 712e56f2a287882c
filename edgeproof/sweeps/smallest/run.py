"""Run a search for the smallest model: examine, train in rungs, measure the front, and write the chosen study.

As in `sweeps.search`, nothing but points and proxies is stored: the same command asks for the same trials again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import optuna

from edgeproof.config.params import Params
from edgeproof.config.task_metric import load_metric
from edgeproof.statistics.metric import Metric
from edgeproof.sweeps import local_executor, report, sweep
from edgeproof.sweeps.pareto_front import read_marked_rows
from edgeproof.sweeps.points import CodeVersion, ComposedPoint, SweepRequest
from edgeproof.sweeps.search import EXCESS_CONSTRAINT, PENALTY, ask_next_trial, create_study
from edgeproof.sweeps.smallest import ablation, study_file, winner
from edgeproof.sweeps.smallest.candidates import (
    Candidate,
    describe_refusal,
    refuse_empty_budget,
    refuse_failed_trainings,
    write_candidates,
)
from edgeproof.sweeps.smallest.choices import HIDDEN_KEYS, SMALL, STUDENT, Choice, ChoiceSpace
from edgeproof.sweeps.smallest.constraints import PROXIES, Budget, describe_limits, read_budget, read_target
from edgeproof.sweeps.smallest.halving import count_survivors, plan_epochs, select, sort_fronts
from edgeproof.sweeps.smallest.options import SmallestOptions
from edgeproof.sweeps.smallest.proxies import Examiner, Proxies, Untrained, describe_untrained
from edgeproof.sweeps.smallest.study_check import check_study
from edgeproof.sweeps.store import SweepStore

OBJECTIVES = ("quality", "size_bytes")
PROXIES_FILE, CANDIDATES_FILE = "proxies.json", "candidates.csv"
# Composes a point from the overrides of a candidate. Raises ConfigError.
Compose = Callable[[Sequence[str]], ComposedPoint]
# Returns a candidate's figures, exported only if the counts are within the limits. Tests replace it.
Examine = Callable[[Untrained, Mapping[str, float]], Proxies]


@dataclass(frozen=True)
class SmallestSearch:
    """A checked search: what it may choose, what it must keep to, and how it composes and trains.

    Attributes:
        target: the quality to reach, in the metric's natural unit.
        base: the study that candidates are made from.
        epochs: of each rung of short trainings, the epochs of the student and those after pruning.
    """

    name: str
    options: SmallestOptions
    space: ChoiceSpace
    budget: Budget
    target: float
    metric: Metric
    compose: Compose
    base: Params
    epochs: Sequence[tuple[int, int]]

    @property
    def study_name(self) -> str:
        """The name of the study that is written for the winner."""
        return self.options.save_as or self.name.replace("-", "_")

    def compose_rung(self, choice: Choice, rung: int) -> ComposedPoint:
        """Compose a candidate with the epochs of a rung. A rung behind the last one has the study's own epochs."""
        words = choice.list_overrides()
        if rung < len(self.epochs):
            student, pruned = self.epochs[rung]
            words = (*words, f"distill.epochs={student}", f"prune.epochs={pruned}")
        return self.compose(words)

    def describe_untrained(self, choice: Choice) -> Untrained:
        """Return what decides a candidate's size, as in its composed study, without composing that."""
        composed = describe_untrained(self.base)
        pruning = {**self.base.find_model(SMALL).options, "ratio": float(choice.ratio)}
        is_pruned = SMALL in choice.chain
        return replace(
            composed,
            network=choice.network,
            network_options=self.space.fill_options(choice),
            steps=((self.base.find_model(SMALL).method, pruning),) if is_pruned else (),
            export={**composed.export, "model": choice.final_model, "schemes": [choice.scheme]},
        )

    def compute_cost(self, candidate: Candidate) -> tuple[float, float]:
        """Return what halving compares: the quality as a cost, and the predicted size."""
        quality, size = candidate.qualities[-1], candidate.proxies.size_bytes
        assert quality is not None
        assert size is not None
        return winner.compute_cost(quality, self.metric), float(size)


def plan_search(
    name: str, options: SmallestOptions, space: ChoiceSpace, base: Params, compose: Compose
) -> SmallestSearch:
    """Check a search before anything runs. Raises ConfigError for a wrong budget, target or value of the space."""
    metric = load_metric(base.task.metric)
    budget, target = read_budget(options.within), read_target(options.target, metric)
    space.check_options()
    full = [base.find_model(model).options["epochs"] for model in (STUDENT, SMALL)]
    # The rung behind the short ones is the full training.
    plans = [plan_epochs(epochs, options.rungs + 1, options.reduction)[:-1] for epochs in full]
    epochs = list(zip(*plans, strict=True))
    search = SmallestSearch(name, options, space, budget, target, metric, compose, base, epochs)
    for choice in space.list_probes():
        check_study(search.compose_rung(choice, 0).params, choice, epochs[0], base.find_model(STUDENT).teachers)
    return search


def run_smallest(
    search: SmallestSearch,
    *,
    workers: int = 1,
    starter: local_executor.PointStarter = local_executor.start_point,
    examine: Examine | None = None,
) -> int:
    """Run a search, print its front, and write the chosen study. Return 0, or 1 if no point meets the target.

    Raises ConfigError when no candidate is within the budget.
    """
    study_file.refuse_foreign_file(search.study_name)
    with sweep.hold_sweep_lock(search.name):
        store, code = sweep.open_store(search.name), sweep.snapshot_code()
        _print_plan(search)
        with Examiner(store.directory / PROXIES_FILE) as examiner:
            runner = _Runner(search, store, code, workers, starter, examine or examiner)
            candidates = runner.run_first_rung()
        finalists = runner.run_further_rungs(candidates)
        request = runner.measure(finalists)
        write_candidates(candidates, store.directory / CANDIDATES_FILE)
        print(report.write_report(store), end="")
        best = winner.find_winner(read_marked_rows(store), request.limits, search.target)
        if best is None:
            print(winner.explain_miss(read_marked_rows(store), request.limits, search.target, search.metric))
            return 1
        chosen = next(item for item, point in zip(finalists, request.points, strict=True) if point == best.point)
        print(winner.describe(best, search.metric, search.target))
        study_file.write_chosen_study(search.study_name, best.point, store)
        steps = _list_ablation(search, chosen.choice)
        points = [search.compose(step.choice.list_overrides()) for step in steps]
        print(ablation.write_steps(steps, points, store.directory))
    if search.options.ablation:
        return sweep.run_sweep(f"{search.name}-ablation", points, workers=workers, starter=starter)
    return sweep.compute_exit_code(store, request)


@dataclass(frozen=True)
class _Runner:
    """Trains and measures the candidates of a search as points of a sweep."""

    search: SmallestSearch
    store: SweepStore
    code: CodeVersion
    workers: int
    starter: local_executor.PointStarter
    examine: Examine

    def run_first_rung(self) -> list[Candidate]:
        """Ask Optuna for candidates, examine them, and train those within the budget for the first rung's epochs."""
        options = self.search.options.to_search_options()
        study = create_study(options, self.search.metric)
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # it warns of options that only one network has
        candidates: list[Candidate] = []
        attempts = trained = 0
        while trained < options.trials and attempts < options.trials * self.search.options.attempts:
            size = min(options.batch, options.trials - trained)
            batch: list[Candidate] = []
            while len(batch) < size and attempts < options.trials * self.search.options.attempts:
                trial = ask_next_trial(study, options, attempts)
                attempts += 1
                candidate = self._examine_trial(study, trial, candidates)
                if candidate is not None and not candidate.refusal:
                    batch.append(candidate)
            if batch:
                self._train(batch, candidates, 0)
                refuse_failed_trainings(candidates, self.store.directory / CANDIDATES_FILE)
                for candidate in batch:
                    self._tell(study, candidate)
                trained += len(batch)
        refuse_empty_budget(candidates, self.search.budget)
        return candidates

    def _examine_trial(self, study: optuna.Study, trial: optuna.Trial, candidates: list[Candidate]) -> Candidate | None:
        """Return the candidate of a trial, added to `candidates`, or None for one that was examined before."""
        choice = self.search.space.suggest(trial)
        if any(choice == candidate.choice for candidate in candidates):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return None
        limits = self.search.budget.proxies
        proxies = self.examine(self.search.describe_untrained(choice), limits)
        candidate = Candidate(choice, trial, proxies, describe_refusal(proxies, self.search.budget))
        candidates.append(candidate)
        if candidate.refusal:
            excess = sum(proxies.compute_excesses(limits).values()) or PENALTY
            self._tell_penalty(study, candidate, excess)
        return candidate

    def _train(self, group: Sequence[Candidate], candidates: Sequence[Candidate], rung: int) -> None:
        points = [self.search.compose_rung(candidate.choice, rung) for candidate in group]
        request = sweep.write_request(self.store, self.code, points, OBJECTIVES, self.search.budget.limits, HIDDEN_KEYS)
        sweep.train_points(self.store, request, workers=self.workers, starter=self.starter)
        for candidate, point in zip(group, request.points, strict=True):
            models = self.store.read_trained(point.digest)
            final = None if models is None else models.get(candidate.choice.final_model)
            candidate.qualities.append(None if final is None else final.validation_quality)
            failure = self.store.read_failure(point.digest)
            candidate.outcome = (
                f"failed: {failure.reason}" if final is None and failure else f"stopped at rung {rung + 1}"
            )
        write_candidates(candidates, self.store.directory / CANDIDATES_FILE)

    def _tell(self, study: optuna.Study, candidate: Candidate) -> None:
        quality, size = candidate.qualities[-1], candidate.proxies.size_bytes
        if quality is None or size is None:
            self._tell_penalty(study, candidate, PENALTY)
            return
        candidate.trial.set_constraint(EXCESS_CONSTRAINT, 0.0)
        study.tell(candidate.trial, [quality, size])

    def _tell_penalty(self, study: optuna.Study, candidate: Candidate, excess: float) -> None:
        candidate.trial.set_constraint(EXCESS_CONSTRAINT, excess)
        worst = -PENALTY if self.search.metric.better == "more" else PENALTY
        study.tell(candidate.trial, [worst, PENALTY])

    def run_further_rungs(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Train ever fewer candidates for ever more epochs. Return the front after the last rung."""
        left = _keep_trained(candidates)
        for rung in range(1, len(self.search.epochs)):
            count = count_survivors(len(left), self.search.options.reduction)
            left = [left[index] for index in select([self.search.compute_cost(candidate) for candidate in left], count)]
            print(f"Rung {rung + 1}: {len(left)} candidate(s) reach it.", flush=True)
            self._train(left, candidates, rung)
            refuse_failed_trainings(left, self.store.directory / CANDIDATES_FILE)
            left = _keep_trained(left)
        front = sort_fronts([self.search.compute_cost(candidate) for candidate in left])[0]
        return [left[index] for index in front]

    def measure(self, finalists: Sequence[Candidate]) -> SweepRequest:
        """Train the finalists in full, export and measure them. Return the request that names their points."""
        print(f"Full training and measurement: {len(finalists)} candidate(s) of the front.", flush=True)
        points = [self.search.compose_rung(candidate.choice, len(self.search.epochs)) for candidate in finalists]
        request = sweep.write_request(self.store, self.code, points, OBJECTIVES, self.search.budget.limits, HIDDEN_KEYS)
        sweep.run_points(self.store, request, workers=self.workers, starter=self.starter)
        for candidate in finalists:
            candidate.outcome = "measured"
        return request


def _list_ablation(search: SmallestSearch, chosen: Choice) -> list[ablation.Step]:
    options = search.base.find_model(STUDENT).options
    distillation = {name: str(options[name]) for name in ("temperature", "hard_weight")}
    return ablation.list_steps(chosen, search.space.defaults[chosen.network], distillation)


def _keep_trained(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates whose last training gave a quality."""
    return [candidate for candidate in candidates if candidate.qualities and candidate.qualities[-1] is not None]


def _print_plan(search: SmallestSearch) -> None:
    options, budget = search.options, search.budget
    better = "at least" if search.metric.better == "more" else "at most"
    epochs = ", ".join(str(student) for student, _ in search.epochs)
    print(
        f"Search '{search.name}': the smallest file with {search.metric.label} of {better} "
        f"{search.metric.format(search.target)} within {describe_limits(budget.limits)}. {options.trials} candidates "
        f"by {options.sampler} train for {epochs} epochs, and the front in full."
    )
    if measured := [name for name in budget.limits if name not in PROXIES]:
        print(f"{', '.join(measured)}: known only after the measurement of the front.")
    if budget.unchecked:
        print(f"devices/{budget.device}.yaml also limits {', '.join(budget.unchecked)}, which a search does not check.")
