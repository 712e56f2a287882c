"""Tests of a sweep's report: Pareto fronts, spread over seeds, and shares of variance against their definitions."""

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
from edgeproof.report.figures import choose_figure
from edgeproof.report.row import BudgetGate
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import Metric
from edgeproof.study import worktrees
from edgeproof.sweeps import report, results, sweep
from edgeproof.sweeps.importance import compute_importance
from edgeproof.sweeps.pareto_front import compute_excess, is_within_limits, mark_pareto_front
from edgeproof.sweeps.points import CodeVersion, SweepPoint, SweepRequest
from edgeproof.sweeps.results import ResultRow
from edgeproof.sweeps.store import SweepStore
from tests.support.sweep_points import ROW, StubStarter, compose_point


def make_row(**figures: float) -> ResultRow:
    """Make a row of exact figures: their intervals are empty."""
    quality, p50_ns = figures.get("quality", 0.5), 1000 * figures.get("p50_us", 50)
    row = replace(
        ROW,
        quality=Estimate(quality, quality, quality),
        p50_ns=Estimate(p50_ns, p50_ns, p50_ns),
        size_bytes=int(figures.get("size_bytes", 1000)),
    )
    return ResultRow(SweepPoint(("a=1",), "d"), "finished", table_row=row)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_the_pareto_front_holds_all_points_that_no_other_dominates(figures: list[tuple[int, int, int]]) -> None:
    rows = [make_row(quality=a / 4, p50_us=b + 1, size_bytes=c) for a, b, c in figures]
    marked = mark_pareto_front([[row] for row in rows], SweepRequest((), CodeVersion("", "", ())))
    for (a, b, c), (row,) in zip(figures, marked, strict=True):
        beaten = any(x >= a and y <= b and z <= c and (x, y, z) != (a, b, c) for x, y, z in figures)
        assert row.on_pareto_front == (not beaten)


def test_the_front_follows_the_direction_of_the_metric_and_compares_no_two_metrics() -> None:
    rmse = Metric("RMSE", "mm", digits=2, better="less")
    good, bad = (of_metric(make_row(quality=quality), "rmse", rmse) for quality in (3.0, 4.0))
    request = SweepRequest((), CodeVersion("", "", ()))
    marked = mark_pareto_front([[good], [bad], [make_row(quality=0.5)]], request)
    assert [group[0].on_pareto_front for group in marked] == [True, False, True]


def test_a_limit_is_an_upper_one_where_less_is_better() -> None:
    row = of_metric(make_row(quality=3.0), "rmse", Metric("RMSE", "mm", digits=2, better="less"))
    assert is_within_limits(row, {"quality": 3.5})
    assert not is_within_limits(row, {"quality": 2.5})
    assert compute_excess(row, "quality", 2.5) == pytest.approx(0.2)


def test_the_table_of_a_regression_has_its_unit_and_digits() -> None:
    rmse = Metric("RMSE", "mm", digits=1, better="less")
    rows = [of_metric(make_row(quality=quality), "rmse", rmse) for quality in (3.0, 4.0)]
    (column,) = (column for column in report.list_columns(rows) if column.heading == "RMSE, mm")
    assert column.cell(rows[:1]) == "3.0 [3.0, 3.0]"
    assert column.cell(rows) == "3.5 ± 0.7 (2 seeds)"


def of_metric(row: ResultRow, name: str, metric: Metric) -> ResultRow:
    assert row.table_row is not None
    return replace(row, table_row=replace(row.table_row, metric_name=name, metric=metric))


def test_seeds_are_compared_by_their_means_and_not_by_the_best_seed() -> None:
    lucky = [make_row(quality=quality) for quality in (0.91, 0.80, 0.81, 0.80, 0.81)]
    steady = [make_row(quality=0.90) for _ in range(5)]
    marked = mark_pareto_front([lucky, steady], SweepRequest((), CodeVersion("", "", ())))
    assert [[row.on_pareto_front for row in group] for group in marked] == [[False] * 5, [True] * 5]


def test_a_point_within_the_intervals_of_a_better_one_stays_on_the_front() -> None:
    estimates = [Estimate(value, value - 0.01, value + 0.01) for value in (0.90, 0.89, 0.80)]
    exact = make_row().table_row
    assert exact is not None
    rows = [replace(make_row(), table_row=replace(exact, quality=estimate)) for estimate in estimates]
    marked = mark_pareto_front([[row] for row in rows], SweepRequest((), CodeVersion("", "", ())))
    assert [group[0].on_pareto_front for group in marked] == [True, True, False]


def test_two_seeds_that_differ_much_do_not_show_that_one_point_beats_another() -> None:
    wide = [make_row(quality=0.95), make_row(quality=0.75)]
    marked = mark_pareto_front([wide, [make_row(quality=0.90)] * 2], SweepRequest((), CodeVersion("", "", ())))
    assert [group[0].on_pareto_front for group in marked] == [True, True]


def test_latency_over_seeds_has_the_interval_of_a_mean_of_independent_estimates() -> None:
    rng = np.random.default_rng(0)
    errors = rng.standard_normal((3, 100_000)) * np.array([[1.0], [2.0], [2.0]])
    half = 1.96 * errors.mean(axis=0).std()
    group = [replace(make_row(), table_row=replace(ROW, p50_ns=_estimate_us(100, 1.96 * sigma))) for sigma in (1, 2, 2)]
    value, low, high = (float(part) for part in re.findall(r"[\d.]+", report._format_latency(group)))
    assert value == 100
    assert (low, high) == (pytest.approx(100 - half, abs=0.1), pytest.approx(100 + half, abs=0.1))


def _estimate_us(value: float, half: float) -> Estimate:
    return Estimate(1000 * value, 1000 * (value - half), 1000 * (value + half))


def test_accuracy_of_a_study_with_several_seeds_is_their_mean() -> None:
    seeds = replace(make_row(), table_row=replace(ROW, seed_qualities={"0": 0.90, "1": 0.94}))
    assert seeds.get_figure("quality") == pytest.approx(0.92)
    assert report._format_quality([seeds], choose_figure("quality", [ROW])).startswith("92.00 ± 2.83 (2 seeds)")
    refused = replace(seeds, table_row=replace(seeds.table_row, quality=None))
    assert refused.get_figure("quality") is None


def test_excess_is_the_share_of_the_limit_by_which_a_figure_misses_it() -> None:
    accurate, small = make_row(quality=0.9, size_bytes=900), make_row(quality=0.8, size_bytes=100)
    assert is_within_limits(small, {"size_bytes": 500, "quality": 0.7, "validation_quality": 0.99})
    assert not is_within_limits(accurate, {"size_bytes": 500})
    assert compute_excess(accurate, "size_bytes", 500) == pytest.approx(0.8)
    assert compute_excess(small, "quality", 1.0) == pytest.approx(0.2)


def test_importance_equals_a_two_way_anova() -> None:
    """Compare with sums of squares written out with numpy, on a balanced grid."""
    rng = np.random.default_rng(0)
    effects, others = np.array([0.0, 1.0, 5.0]), np.array([0.0, 2.0])
    grid = effects[:, None] + others[None, :] + 0.1 * rng.standard_normal((3, 2))
    rows, given_values = [], []
    for i, j in itertools.product(range(3), range(2)):
        rows.append(make_row(p50_us=float(grid[i, j])))
        given_values.append({"one": str(i), "two": str(j)})
    shares = compute_importance(rows, given_values, "p50_us")
    total = ((grid - grid.mean()) ** 2).sum()
    assert shares["one"] == pytest.approx(2 * ((grid.mean(1) - grid.mean()) ** 2).sum() / total)
    assert shares["two"] == pytest.approx(3 * ((grid.mean(0) - grid.mean()) ** 2).sum() / total)
    assert shares["one"] + shares["two"] <= 1


def test_a_key_with_one_value_has_no_importance() -> None:
    given_values = [{"k": "1", "same": "x"}, {"k": "2", "same": "x"}]
    assert compute_importance([make_row(p50_us=1), make_row(p50_us=2)], given_values, "p50_us") == {
        "k": pytest.approx(1)
    }


def test_a_constant_figure_gives_no_importance() -> None:
    assert compute_importance([make_row(), make_row()], [{"k": "1"}, {"k": "2"}], "quality") == {}


@pytest.mark.usefixtures("empty_project")
def test_seeds_share_one_row_with_mean_and_deviation(digits_study: Params) -> None:
    accuracies = {0: 0.90, 1: 0.94, 2: 0.95}
    rows = {f"seed={seed}": replace(ROW, quality=Estimate(accuracy, 0, 1)) for seed, accuracy in accuracies.items()}
    points = [compose_point(digits_study, ratio=ratio, seed=seed) for ratio in (0.2, 0.4) for seed in accuracies]
    sweep.run_sweep("s", points, starter=StubStarter(rows=rows))
    table = (SweepStore("s").directory / "table.md").read_text()
    mean, deviation = statistics.fmean(accuracies.values()), statistics.stdev(accuracies.values())
    shown = [row for row in table.splitlines() if row.startswith("| ") and "±" in row]
    assert len(shown) == 2
    assert all(f"{100 * mean:.2f} ± {100 * deviation:.2f} (3 seeds)" in row for row in shown)
    with (SweepStore("s").directory / "table.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6


@pytest.mark.usefixtures("empty_project")
def test_points_of_a_changed_working_tree_are_marked_with_the_changed_files(
    digits_study: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worktrees, "list_changes_since_head", lambda: ["edgeproof/losses.py"])
    sweep.run_sweep("s", [compose_point(digits_study)], starter=StubStarter())
    assert "The working tree differs from its last commit (edgeproof/losses.py)" in capsys.readouterr().out
    store = SweepStore("s")
    table = (store.directory / "table.md").read_text()
    assert f"| {store.read_request().points[0].digest[:8]}* |" in table
    assert "differs from commit hhhhhhhh in edgeproof/losses.py" in table


@pytest.mark.usefixtures("empty_project")
def test_the_report_has_a_command_that_runs_each_point_again(digits_study: Params) -> None:
    sweep.run_sweep("s", [compose_point(digits_study, ratio=ratio) for ratio in (0.2, 0.4)], starter=StubStarter())
    table = (SweepStore("s").directory / "table.md").read_text()
    for ratio in (0.2, 0.4):
        assert f"edgeproof repro prune.ratio={ratio} quantize.bits=4 seed=0" in table


@pytest.mark.usefixtures("empty_project")
def test_a_sweep_in_which_every_point_fails_has_a_report(digits_study: Params) -> None:
    assert sweep.run_sweep("s", [compose_point(digits_study)], starter=StubStarter(behaviour={"seed=0": "failed"})) == 1
    assert "the last word" in (SweepStore("s").directory / "table.md").read_text()


@pytest.mark.usefixtures("empty_project")
def test_the_report_counts_stages_that_ran_more_than_once(digits_study: Params) -> None:
    points = [compose_point(digits_study, bits=bits) for bits in (3, 4)]
    sweep.run_sweep("s", points, starter=StubStarter())
    # Each stub process runs all stages of its point, so shared stages run again.
    journal = SweepStore("s").read_journal()
    again = len(journal) - len({(entry.stage, entry.key) for entry in journal})
    assert again > 0
    assert f"{again} of them again" in (SweepStore("s").directory / "table.md").read_text()


@pytest.mark.usefixtures("empty_project")
def test_a_rows_budget_and_seeds_survive_the_sweeps_table(digits_study: Params) -> None:
    gate = BudgetGate("exceeded", ("latency is up to 60 ms (limit 50)",))
    stored = replace(ROW, budget=gate, seed_qualities={0: 0.9, 7: 0.8}, in_turns_against=("good", "fp32"))
    sweep.run_sweep("s", [compose_point(digits_study)], starter=StubStarter(rows={"seed=0": stored}))
    (result,) = results.read_rows(SweepStore("s"))
    assert result.table_row == stored
