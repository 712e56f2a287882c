"""A sweep's report: fronts, spread over seeds and shares of variance against what they are by definition."""

from __future__ import annotations

import csv
import itertools
import re
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.config.params import Params
from edgeproof.statistics.intervals import Estimate
from edgeproof.study import worktrees
from edgeproof.sweeps import report, results, sweep
from edgeproof.sweeps.results import Line
from edgeproof.sweeps.store import Asked, Code, Point, Store
from tests.support.sweep_points import ROW, Starter, wish
from tests.support.sweep_points import here as here


def line(**figures: float) -> Line:
    row = replace(
        ROW,
        accuracy=Estimate(figures.get("accuracy", 0.5), 0, 1),
        p50_ns=Estimate(1000 * figures.get("p50_us", 50), 0, 1),
        size_bytes=int(figures.get("size_bytes", 1000)),
    )
    return Line(Point(("a=1",), "d"), "finished", row=row)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_the_front_is_what_no_other_point_beats(figures: list[tuple[int, int, int]]) -> None:
    found = [line(accuracy=a / 4, p50_us=b + 1, size_bytes=c) for a, b, c in figures]
    marked = results.with_front([[of] for of in found], Asked((), Code("", "", ())))
    for (a, b, c), (of,) in zip(figures, marked, strict=True):
        beaten = any(x >= a and y <= b and z <= c and (x, y, z) != (a, b, c) for x, y, z in figures)
        assert of.front == (not beaten)


def test_seeds_are_beaten_by_their_means_and_not_by_one_lucky_seed() -> None:
    lucky = [line(accuracy=0.95), line(accuracy=0.75)]
    steady = [line(accuracy=0.90), line(accuracy=0.90)]
    marked = results.with_front([lucky, steady], Asked((), Code("", "", ())))
    assert [[of.front for of in group] for group in marked] == [[False, False], [True, True]]


def test_latency_over_seeds_has_the_interval_of_a_mean_of_independent_estimates() -> None:
    rng = np.random.default_rng(0)
    errors = rng.standard_normal((3, 100_000)) * np.array([[1.0], [2.0], [2.0]])
    half = 1.96 * errors.mean(axis=0).std()
    group = [replace(line(), row=replace(ROW, p50_ns=_of_us(100, 1.96 * sigma))) for sigma in (1, 2, 2)]
    value, low, high = (float(part) for part in re.findall(r"[\d.]+", report._latency(group)))
    assert value == 100
    assert (low, high) == (pytest.approx(100 - half, abs=0.1), pytest.approx(100 + half, abs=0.1))


def _of_us(value: float, half: float) -> Estimate:
    return Estimate(1000 * value, 1000 * (value - half), 1000 * (value + half))


def test_a_study_of_several_seeds_has_their_mean_for_accuracy() -> None:
    found = replace(line(), row=replace(ROW, seed_accuracies={"0": 0.90, "1": 0.94}))
    assert found.figure("accuracy") == pytest.approx(0.92)
    assert report._accuracy([found]).startswith("92.00 ± 2.83 (2 seeds)")
    refused = replace(found, row=replace(found.row, accuracy=None))
    assert refused.figure("accuracy") is None


def test_what_misses_a_limit_is_on_no_front_where_anything_keeps_to_it() -> None:
    accurate, small = line(accuracy=0.9, size_bytes=900), line(accuracy=0.8, size_bytes=100)
    assert results.keeps_to(small, {"size_bytes": 500, "accuracy": 0.7, "validation_accuracy": 0.99})
    assert not results.keeps_to(accurate, {"size_bytes": 500})
    assert results.excess(accurate, "size_bytes", 500) == pytest.approx(0.8)
    assert results.excess(small, "accuracy", 1.0) == pytest.approx(0.2)


def test_shares_of_variance_are_those_of_a_two_way_anova() -> None:
    """On a balanced grid, against sums of squares written out with numpy."""
    rng = np.random.default_rng(0)
    effects, others = np.array([0.0, 1.0, 5.0]), np.array([0.0, 2.0])
    grid = effects[:, None] + others[None, :] + 0.1 * rng.standard_normal((3, 2))
    found, given_values = [], []
    for i, j in itertools.product(range(3), range(2)):
        found.append(line(p50_us=float(grid[i, j])))
        given_values.append({"one": str(i), "two": str(j)})
    shares = results.importance(found, given_values, "p50_us")
    total = ((grid - grid.mean()) ** 2).sum()
    assert shares["one"] == pytest.approx(2 * ((grid.mean(1) - grid.mean()) ** 2).sum() / total)
    assert shares["two"] == pytest.approx(3 * ((grid.mean(0) - grid.mean()) ** 2).sum() / total)
    assert shares["one"] + shares["two"] <= 1


def test_a_key_with_one_value_explains_nothing_and_is_not_told() -> None:
    given_values = [{"k": "1", "same": "x"}, {"k": "2", "same": "x"}]
    assert results.importance([line(p50_us=1), line(p50_us=2)], given_values, "p50_us") == {"k": pytest.approx(1)}


def test_a_figure_that_never_changes_is_explained_by_nothing() -> None:
    assert results.importance([line(), line()], [{"k": "1"}, {"k": "2"}], "accuracy") == {}


@pytest.mark.usefixtures("here")
def test_seeds_are_one_row_with_mean_and_deviation(digits_study: Params) -> None:
    accuracies = {0: 0.90, 1: 0.94, 2: 0.95}
    rows = {f"seed={seed}": replace(ROW, accuracy=Estimate(of, 0, 1)) for seed, of in accuracies.items()}
    wishes = [wish(digits_study, ratio=ratio, seed=seed) for ratio in (0.2, 0.4) for seed in accuracies]
    sweep.sweep("s", wishes, starter=Starter(rows=rows))
    table = (Store("s").directory / "table.md").read_text()
    mean, deviation = statistics.fmean(accuracies.values()), statistics.stdev(accuracies.values())
    shown = [row for row in table.splitlines() if row.startswith("| ") and "±" in row]
    assert len(shown) == 2
    assert all(f"{100 * mean:.2f} ± {100 * deviation:.2f} (3 seeds)" in row for row in shown)
    with (Store("s").directory / "table.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6


@pytest.mark.usefixtures("here")
def test_points_of_a_changed_tree_are_marked_with_what_changed(
    digits_study: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worktrees, "changed_since_head", lambda: ["edgeproof/losses.py"])
    sweep.sweep("s", [wish(digits_study)], starter=Starter())
    assert "The tree differs from its last commit (edgeproof/losses.py)" in capsys.readouterr().out
    store = Store("s")
    table = (store.directory / "table.md").read_text()
    assert f"| {store.asked().points[0].digest[:8]}* |" in table
    assert "differs from its commit hhhhhhhh in edgeproof/losses.py" in table


@pytest.mark.usefixtures("here")
def test_every_point_has_the_command_that_runs_it_again(digits_study: Params) -> None:
    sweep.sweep("s", [wish(digits_study, ratio=ratio) for ratio in (0.2, 0.4)], starter=Starter())
    table = (Store("s").directory / "table.md").read_text()
    for ratio in (0.2, 0.4):
        assert f"edgeproof repro prune.ratio={ratio} quantize.bits=4 seed=0" in table


@pytest.mark.usefixtures("here")
def test_a_sweep_in_which_all_fails_still_has_its_report(digits_study: Params) -> None:
    assert sweep.sweep("s", [wish(digits_study)], starter=Starter(behaviour={"seed=0": "failed"})) == 1
    assert "the last word" in (Store("s").directory / "table.md").read_text()


@pytest.mark.usefixtures("here")
def test_a_stage_that_ran_twice_is_told(digits_study: Params) -> None:
    wishes = [wish(digits_study, bits=bits) for bits in (3, 4)]
    sweep.sweep("s", wishes, starter=Starter())
    # The stand-in for a point's process runs every stage of its own, so shared ones run again, and that shows.
    journal = Store("s").journal()
    again = len(journal) - len({(entry["stage"], entry["key"]) for entry in journal})
    assert again > 0
    assert f"{again} of them again" in (Store("s").directory / "table.md").read_text()
