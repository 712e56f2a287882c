"""Compare the samplers NSGA-II and TPE with random search, with equal budgets, on the digits study.

    python experiments/search_against_random.py           build every point of a grid, then search it many times
    python experiments/search_against_random.py --again   search again, from experiments/search_against_random.csv

A point is a final model of the study, given by three options: the temperature of distillation, the share of pruned
channels, and the bits per weight. The objectives are accuracy on the test split (up) and bytes after entropy coding
(down). Since all points are known, a search is judged by its front: by its share of the hypervolume of the whole grid.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import matplotlib as mpl
import torch
from matplotlib.figure import Figure

from edgeproof.config import compose
from edgeproof.data import preparation
from edgeproof.models import build, model_files
from edgeproof.report.plots import COLOURS
from edgeproof.statistics.metric import ACCURACY
from edgeproof.sweeps import search
from edgeproof.sweeps.search import SearchOptions
from edgeproof.sweeps.search_space import RangeAxis

HERE = Path(__file__).resolve().parent
TABLE, PLOT = HERE / "search_against_random.csv", HERE / "search_against_random.svg"
GRID = {
    "distill.temperature": ("1.0", "2.0", "4.0", "8.0"),
    "prune.ratio": ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6"),
    "quantize.bits": ("2", "3", "4", "5", "6"),
}
TRIALS, BATCH, SEEDS = 24, 8, range(5)
SAMPLERS: tuple[search.SamplerName, ...] = ("random", "nsga2", "tpe")
Objectives = tuple[float, float]  # accuracy, bytes


def main() -> None:
    """Build the grid unless --again is given, then search it with each sampler and seed."""
    if "--again" not in sys.argv:
        _build_grid()
    known = _read_grid()
    worst = (min(accuracy for accuracy, _ in known.values()), max(size for _, size in known.values()))
    whole = hypervolume(list(known.values()), worst)
    shares: dict[str, list[list[float]]] = {}
    for sampler in SAMPLERS:
        runs = [_search(known, sampler, seed) for seed in SEEDS]
        shares[sampler] = [[hypervolume(run[: trials + 1], worst) / whole for trials in range(TRIALS)] for run in runs]
        print(f"{sampler}: " + ", ".join(f"{100 * share[-1]:.1f}%" for share in shares[sampler]))
    _plot(shares)


def _build_grid() -> None:
    params = compose.compose("digits", ["threads=1"])
    with tempfile.TemporaryDirectory() as scratch, TABLE.open("w", encoding="utf-8", newline="") as file:
        os.chdir(scratch)
        preparation.prepare(params.task)
        (test_x,), test_y = preparation.load_split("digits", "test")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*GRID, "accuracy", "bytes"])
        build.build("teacher", params)
        for temperature in GRID["distill.temperature"]:
            params.distill["student"].options["temperature"] = float(temperature)
            build.build("student", params)
            for ratio in GRID["prune.ratio"]:
                params.prune["student_slim"].options["ratio"] = float(ratio)
                build.build("student_slim", params)
                for bits in GRID["quantize.bits"]:
                    params.quantize["student_slim_w4"].options["bits"] = int(bits)
                    build.build("student_slim_w4", params)
                    module, _, meta = model_files.load(Path("models/student_slim_w4"))
                    with torch.no_grad():
                        classes = module(torch.from_numpy(test_x)).argmax(1).numpy()
                    accuracy = float((classes == test_y).mean())
                    writer.writerow([temperature, ratio, bits, accuracy, meta["entropy_coded_bytes"]])
                    file.flush()


def _read_grid() -> dict[tuple[str, ...], Objectives]:
    with TABLE.open(encoding="utf-8") as file:
        return {
            tuple(row[key] for key in GRID): (float(row["accuracy"]), float(row["bytes"]))
            for row in csv.DictReader(file)
        }


def _search(known: Mapping[tuple[str, ...], Objectives], sampler: search.SamplerName, seed: int) -> list[Objectives]:
    """Run one search as `edgeproof.sweeps.search` does, and return the objectives of its trials in order."""
    options = SearchOptions(
        space={"known": "here"},
        objectives=["quality", "size_bytes"],
        trials=TRIALS,
        batch=BATCH,
        sampler=sampler,
        seed=seed,
    )
    study = search.create_study(options, ACCURACY)
    finished: list[Objectives] = []
    while len(finished) < TRIALS:
        trials = [search.ask_next_trial(study, options, len(finished) + number) for number in range(BATCH)]
        for trial in trials:
            point = (
                values[
                    int(RangeAxis(0, len(values) - 1, None, is_logarithmic=False, is_integer=True).suggest(trial, key))
                ]
                for key, values in GRID.items()
            )
            objectives = known[tuple(point)]
            study.tell(trial, objectives)
            finished.append(objectives)
    return finished


def hypervolume(points: Sequence[Objectives], worst: Objectives) -> float:
    """Return the area between `worst` and the front of `points`, for accuracy up and bytes down."""
    area, best_accuracy = 0.0, worst[0]
    for accuracy, size in sorted(points, key=lambda point: (point[1], -point[0])):
        if accuracy > best_accuracy:
            area += (accuracy - best_accuracy) * (worst[1] - size)
            best_accuracy = accuracy
    return area


def _plot(shares: Mapping[str, Sequence[Sequence[float]]]) -> None:
    with mpl.rc_context({"svg.hashsalt": "edgeproof", "font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        for (sampler, runs), colour in zip(shares.items(), COLOURS, strict=False):
            for run in runs:
                axes.plot(range(1, TRIALS + 1), [100 * share for share in run], color=colour, linewidth=0.6, alpha=0.4)
            mean = [100 * fmean(values) for values in zip(*runs, strict=True)]
            axes.plot(
                range(1, TRIALS + 1), mean, color=colour, linewidth=2, label=f"{sampler}, mean of {len(runs)} seeds"
            )
        axes.set(
            xlabel="trials",
            ylabel="% of the hypervolume of the whole grid",
            title="Accuracy up, bytes down",
            ylim=(80, 100),
        )
        axes.legend()
        axes.grid(alpha=0.25)
        figure.savefig(PLOT, format="svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
