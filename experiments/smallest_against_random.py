"""Compare the search for the smallest model with random search, with equal training budgets, on digits.

    python experiments/smallest_against_random.py           train every candidate of a grid, then search it many times
    python experiments/smallest_against_random.py --again   search again, from experiments/smallest_against_random.csv

The grid is the search space that conf/networks/ds_cnn.yaml declares, each network with and without a teacher. All
candidates are trained beforehand for the epochs of the short rung and in full, so a search is judged by the front of
what it trained in full: by its share of the hypervolume of the whole grid's front within the budget, for validation
accuracy up and parameters down. Random search spends the same number of epochs on full trainings of any candidates,
because without an examination nobody knows which are within the budget. The second comparison gives it that knowledge.
"""

from __future__ import annotations

import csv
import itertools
import json
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from statistics import fmean

from optuna.trial import TrialState

from edgeproof.config import compose
from edgeproof.data import preparation
from edgeproof.models import build, model_files
from edgeproof.statistics.metric import ACCURACY
from edgeproof.sweeps import search
from edgeproof.sweeps.search import EXCESS_CONSTRAINT, PENALTY, SearchOptions
from edgeproof.sweeps.search_space import ChoiceAxis, RangeAxis
from edgeproof.sweeps.smallest.halving import plan_epochs, sort_fronts

TABLE = Path(__file__).resolve().with_suffix(".csv")
GRID = {
    "width": ("16", "24", "32", "48", "64"),
    "blocks": ("2", "3", "4"),
    "stem_kernel": ("[3,3]", "[5,5]", "[10,4]"),
    "stem_stride": ("1", "2"),
    "hard_weight": ("0.3", "1.0"),  # 1.0 is without a teacher
}
SPACE = {key: ChoiceAxis(values) for key, values in GRID.items()} | {"blocks": RangeAxis(2, 4, None, False, True)}
LIMIT = 6000  # parameters
FULL, REDUCTION = 27, 3
TRIALS, BATCH, ATTEMPTS = 18, 6, 10  # those of conf/search/smallest.yaml
EPOCHS = plan_epochs(FULL, 2, REDUCTION)
SEEDS = range(5)
RANDOM_SEARCHES = 1000  # one alone depends on its luck
Point = tuple[str, ...]
# Accuracy after the epochs of the short rung and in full, and parameters.
Known = Mapping[Point, tuple[tuple[float, ...], float]]


def main() -> None:
    """Train the grid unless --again is given, then search it with each seed."""
    if "--again" not in sys.argv:
        _train_grid()
    known = _read_grid()
    within = {point for point, (_, size) in known.items() if size <= LIMIT}
    worst = (min(accuracies[-1] for accuracies, _ in known.values()), float(LIMIT))
    whole = compute_hypervolume(known, sorted(within), worst)
    print(f"{len(within)} of {len(known)} candidates are within the budget of {LIMIT} parameters.")
    for seed in SEEDS:
        finalists, epochs = search_as_edgeproof(known, seed)
        share = compute_hypervolume(known, finalists, worst) / whole
        print(f"Seed {seed}: {epochs} of {FULL * len(within)} epochs, search {share:.1%}")
        for name, candidates in (("any candidate", set(known)), ("within the budget", within)):
            chooser = random.Random(seed)  # noqa: S311 (no secret)
            draws = [chooser.sample(sorted(candidates), epochs // FULL) for _ in range(RANDOM_SEARCHES)]
            others = [compute_hypervolume(known, sorted(within & set(draw)), worst) / whole for draw in draws]
            beaten = fmean(other < share for other in others)
            print(f"  random, {name}: mean {fmean(others):.1%}; the search beats {beaten:.1%} of {RANDOM_SEARCHES}")


def _train_grid() -> None:
    params = compose.compose("smallest", ["models.student.network=ds_cnn", f"train.epochs={FULL}"])
    student = params.distill["student"]
    with (
        tempfile.TemporaryDirectory() as scratch,
        TABLE.open("w", encoding="utf-8", newline="") as file,
        chdir(scratch),
    ):
        preparation.prepare(params.task)
        build.build("teacher", params)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*GRID, *(f"accuracy_{epochs}" for epochs in EPOCHS), "parameters"])
        for point in itertools.product(*GRID.values()):
            *network, hard_weight = (json.loads(value) for value in point)
            student.network_options.update(zip(GRID, network, strict=False))
            student.options["hard_weight"] = hard_weight
            metas = []
            for epochs in EPOCHS:
                student.options["epochs"] = epochs
                build.build("student", params)
                metas.append(model_files.load(Path("models/student"))[2])
            qualities = [meta["validation_quality"] for meta in metas]
            writer.writerow([*point, *qualities, metas[0]["parameters"]])
            file.flush()


def _read_grid() -> Known:
    with TABLE.open(encoding="utf-8") as file:
        return {
            tuple(row[key] for key in GRID): (
                tuple(float(row[f"accuracy_{epochs}"]) for epochs in EPOCHS),
                float(row["parameters"]),
            )
            for row in csv.DictReader(file)
        }


def search_as_edgeproof(known: Known, seed: int) -> tuple[list[Point], int]:
    """Search as `edgeproof search` does. Return the points that are trained in full, and the epochs of everything."""
    options = SearchOptions(
        space={"known": "here"}, objectives=["quality", "size_bytes"], trials=TRIALS, batch=BATCH, sampler="tpe",
        seed=seed,
    )  # fmt: skip
    study = search.create_study(options, ACCURACY)
    examined: set[Point] = set()
    trained: list[Point] = []
    attempts = 0
    while len(trained) < TRIALS and attempts < TRIALS * ATTEMPTS:
        batch = []
        while len(batch) < min(BATCH, TRIALS - len(trained)) and attempts < TRIALS * ATTEMPTS:
            trial = search.ask_next_trial(study, options, attempts)
            attempts += 1
            point = tuple(axis.suggest(trial, key) for key, axis in SPACE.items())
            if point in examined:
                study.tell(trial, state=TrialState.FAIL)
                continue
            examined.add(point)
            excess = known[point][1] / LIMIT - 1
            if excess > 0:
                trial.set_constraint(EXCESS_CONSTRAINT, excess)
                study.tell(trial, [-PENALTY, PENALTY])
            else:
                batch.append((trial, point))
        for trial, point in batch:
            accuracies, size = known[point]
            trial.set_constraint(EXCESS_CONSTRAINT, 0.0)
            study.tell(trial, [accuracies[0], size])
            trained.append(point)
    front = sort_fronts([(-known[point][0][0], known[point][1]) for point in trained])[0]
    return [trained[index] for index in front], EPOCHS[0] * len(trained) + FULL * len(front)


def compute_hypervolume(known: Known, points: Sequence[Point], worst: tuple[float, float]) -> float:
    """Return the area between `worst` and the front of the points, with their accuracy after the full training."""
    area, best = 0.0, worst[0]
    for size, accuracy in sorted((known[point][1], known[point][0][-1]) for point in points):
        if accuracy > best:
            area += (accuracy - best) * (worst[1] - size)
            best = accuracy
    return area


if __name__ == "__main__":
    main()
