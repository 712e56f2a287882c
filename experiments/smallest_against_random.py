"""Compare the search in rungs with random search, with equal training budgets, on digits.

    python experiments/smallest_against_random.py           train every candidate of a grid, then search it many times
    python experiments/smallest_against_random.py --again   search again, from experiments/smallest_against_random.csv

A candidate is a DS-CNN, given by its width, its blocks and the temperature of its distillation. All candidates are
trained beforehand for the epochs of every rung, so a search is judged by the front of what it trained in full: by its
share of the hypervolume of the whole grid's front, for validation accuracy up and parameters down. Random search spends
the epochs of the rungs on full trainings.
"""

from __future__ import annotations

import csv
import itertools
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from statistics import fmean

from edgeproof.config import compose
from edgeproof.data import preparation
from edgeproof.models import build, model_files
from edgeproof.statistics.metric import ACCURACY
from edgeproof.sweeps import search
from edgeproof.sweeps.search import SearchOptions
from edgeproof.sweeps.search_space import ChoiceAxis
from edgeproof.sweeps.smallest.halving import count_survivors, plan_epochs, select, sort_fronts

TABLE = Path(__file__).resolve().with_suffix(".csv")
GRID = {"width": ("8", "16", "24", "32", "48"), "blocks": ("1", "2", "3"), "temperature": ("2.0", "8.0")}
FULL, RUNGS, REDUCTION = 9, 3, 3
TRIALS, BATCH, SEEDS = 18, 6, range(5)
EPOCHS = plan_epochs(FULL, RUNGS, REDUCTION)
Point = tuple[str, ...]
# Accuracy after the epochs of each rung, and parameters.
Known = Mapping[Point, tuple[tuple[float, ...], float]]


def main() -> None:
    """Train the grid unless --again is given, then search it with each seed."""
    if "--again" not in sys.argv:
        _train_grid()
    known = _read_grid()
    worst = (min(accuracies[-1] for accuracies, _ in known.values()), max(size for _, size in known.values()))
    whole = compute_hypervolume(known, list(known), worst)
    for first in range(RUNGS - 1):
        shares: dict[str, list[float]] = {"rungs": [], "random": []}
        spent = []
        for seed in SEEDS:
            finalists, epochs = search_in_rungs(known, seed, first)
            trained = random.Random(seed).sample(sorted(known), epochs // FULL)  # noqa: S311 (no secret)
            shares["rungs"].append(compute_hypervolume(known, finalists, worst) / whole)
            shares["random"].append(compute_hypervolume(known, trained, worst) / whole)
            spent.append(epochs)
        print(f"first rung of {EPOCHS[first]} epoch(s), {fmean(spent):.0f} epochs in total:")
        for name, values in shares.items():
            print(f"  {name}: {', '.join(f'{value:.1%}' for value in values)}; mean {fmean(values):.1%}")


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
        for width, blocks, temperature in itertools.product(*GRID.values()):
            student.network_options.update(width=int(width), blocks=int(blocks), stem_kernel=[3, 3], stem_stride=1)
            student.options["temperature"] = float(temperature)
            metas = []
            for epochs in EPOCHS:
                student.options["epochs"] = epochs
                build.build("student", params)
                metas.append(model_files.load(Path("models/student"))[2])
            qualities = [meta["validation_quality"] for meta in metas]
            writer.writerow([width, blocks, temperature, *qualities, metas[0]["parameters"]])
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


def search_in_rungs(known: Known, seed: int, first: int) -> tuple[list[Point], int]:
    """Search as `edgeproof search` does. Return the points that are trained in full, and the epochs of everything."""
    options = SearchOptions(
        space={"known": "here"}, objectives=["quality", "size_bytes"], trials=TRIALS, batch=BATCH, sampler="tpe",
        seed=seed,
    )  # fmt: skip
    study = search.create_study(options, ACCURACY)
    points: list[Point] = []
    attempts = 0
    while len(points) < TRIALS and attempts < 20 * TRIALS:
        batch = [search.ask_next_trial(study, options, attempts + number) for number in range(BATCH)]
        attempts += BATCH
        for trial in batch:
            point = tuple(ChoiceAxis(values).suggest(trial, key) for key, values in GRID.items())
            accuracies, size = known[point]
            study.tell(trial, [accuracies[first], size])
            if point not in points and len(points) < TRIALS:
                points.append(point)
    total = EPOCHS[first] * len(points)
    for rung in range(first + 1, RUNGS - 1):
        costs = [(-known[point][0][rung - 1], known[point][1]) for point in points]
        points = [points[index] for index in select(costs, count_survivors(len(points), REDUCTION))]
        total += EPOCHS[rung] * len(points)
    front = sort_fronts([(-known[point][0][-2], known[point][1]) for point in points])[0]
    return [points[index] for index in front], total + FULL * len(front)


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
