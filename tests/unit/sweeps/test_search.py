"""Tests of searches without DVC: trials, limits, continuing after a kill, and the reported front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import ACCURACY, Metric
from edgeproof.sweeps import search
from edgeproof.sweeps.pareto_front import read_marked_rows
from edgeproof.sweeps.points import ComposedPoint
from edgeproof.sweeps.results import ResultRow
from edgeproof.sweeps.search import SearchOptions
from edgeproof.sweeps.search_space import ChoiceAxis, RangeAxis
from edgeproof.sweeps.store import SweepStore
from tests.support.sweep_points import ROW, StubStarter, compose_point, list_started

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("empty_project")]

SPACE = {"prune.ratio": RangeAxis(0.1, 0.6, None, False, False), "quantize.bits": RangeAxis(2, 8, None, False, True)}


def options(**changes: object) -> SearchOptions:
    content = {
        "space": {"unused": "here"},
        "objectives": ["quality", "size_bytes"],
        "trials": 8,
        "batch": 4,
        "sampler": "nsga2",
        "seed": 0,
        **changes,
    }
    return SearchOptions.model_validate(content)


@pytest.fixture
def compose(digits_study: Params) -> object:
    def compose(values: Mapping[str, str]) -> ComposedPoint:
        return compose_point(digits_study, ratio=float(values["prune.ratio"]), bits=int(values["quantize.bits"]))

    return compose


def overrides(name: str) -> list[tuple[str, ...]]:
    return [point.overrides for point in SweepStore(name).read_request().points]


@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random"])
def test_a_search_is_repeatable_and_another_seed_gives_other_trials(compose: object, sampler: str) -> None:
    search.run_search("a", options(sampler=sampler), SPACE, compose, starter=StubStarter())
    search.run_search("b", options(sampler=sampler), SPACE, compose, starter=StubStarter())
    search.run_search("c", options(sampler=sampler, seed=1), SPACE, compose, starter=StubStarter())
    assert overrides("a") == overrides("b")
    assert overrides("a") != overrides("c")
    assert len(overrides("a")) == 8


def test_an_interrupted_search_continues_with_the_same_trials_and_repeats_none(compose: object) -> None:
    search.run_search("whole", options(), SPACE, compose, starter=StubStarter())
    search.run_search("cut", options(trials=4), SPACE, compose, starter=StubStarter())
    search.run_search("cut", options(), SPACE, compose, starter=StubStarter())
    assert overrides("cut") == overrides("whole")
    assert len(list_started(SweepStore("cut"))) == len(set(list_started(SweepStore("cut"))))


def test_the_report_has_the_front_and_the_importance_of_keys(compose: object) -> None:
    search.run_search("s", options(trials=12), SPACE, compose, starter=StubStarter())
    rows = read_marked_rows(SweepStore("s"))
    assert any(row.on_pareto_front for row in rows)
    table = (SweepStore("s").directory / "table.md").read_text()
    assert "compares quality, size_bytes" in table
    assert "| prune.ratio |" in table


def test_a_failed_trial_becomes_a_row_and_the_search_continues(compose: object) -> None:
    failing = StubStarter(
        behaviour={"quantize.bits=2": "failed", "quantize.bits=3": "failed", "quantize.bits=4": "failed"}
    )
    code = search.run_search("s", options(trials=12), SPACE, compose, starter=failing)
    statuses = {SweepStore("s").read_status(point.digest) for point in SweepStore("s").read_request().points}
    assert len(overrides("s")) == 12
    assert code == int("failed" in statuses)


def test_the_front_of_a_search_keeps_to_its_limits(compose: object) -> None:
    search.run_search("s", options(trials=24, limits={"size_bytes": 2500}), SPACE, compose, starter=StubStarter())
    rows = read_marked_rows(SweepStore("s"))
    front = [row for row in rows if row.on_pareto_front]
    assert front
    assert all(row.table_row.size_bytes <= 2500 for row in front)


def test_if_no_row_keeps_to_the_limits_the_front_is_that_of_all_rows(compose: object) -> None:
    search.run_search("s", options(limits={"size_bytes": 1}), SPACE, compose, starter=StubStarter())
    assert any(row.on_pareto_front for row in read_marked_rows(SweepStore("s")))
    assert "no row is within the limits (size_bytes 1)" in (SweepStore("s").directory / "table.md").read_text()


def test_a_trial_with_an_unmeasured_figure_is_not_on_the_front(compose: object) -> None:
    unmeasured = replace(ROW, p50_ns=None, verdict="invalid", reasons=("disturbed",))
    starter = StubStarter(rows={"seed=0": unmeasured})
    search.run_search("s", options(objectives=["quality", "p50_us"]), SPACE, compose, starter=starter)
    assert not any(row.on_pareto_front for row in read_marked_rows(SweepStore("s")))


def test_a_trial_gets_the_worst_figure_of_its_artifacts() -> None:
    better = replace(ROW, quality=Estimate(0.95, 0, 1), size_bytes=500)
    rows = [ResultRow(None, "finished", table_row=row) for row in (ROW, better)]  # type: ignore[arg-type]
    assert search._find_worst(rows, "quality", True) == 0.9
    assert search._find_worst(rows, "size_bytes", False) == 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["speed"]}, "there is no figure 'speed'"),
        ({"limits": {"p50": 3.0}}, "there is no figure 'p50'"),
        ({"limits": {"p50_us": 0.0}}, "must be greater than 0"),
    ],
)
def test_unknown_figures_and_limits_of_zero_are_refused(
    compose: object, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        search.run_search("s", options(**changes), SPACE, compose, starter=StubStarter())


def test_an_interval_is_refused_for_a_key_that_takes_integers_only(compose: object) -> None:
    """Both ends of interval(2, 8) are integers, but the values between them are not."""

    def strict(values: Mapping[str, str]) -> ComposedPoint:
        if "." in values["quantize.bits"]:
            raise ConfigError(f"bits: {values['quantize.bits']}")
        return compose(values)  # type: ignore[operator]

    space = {**SPACE, "quantize.bits": RangeAxis(2, 8, None, False, False)}
    with pytest.raises(ConfigError, match=r"bits: \d\."):
        search.run_search("s", options(), space, strict, starter=StubStarter())


def test_an_invalid_value_of_the_space_is_refused_before_anything_runs(compose: object) -> None:
    def strict(values: Mapping[str, str]) -> ComposedPoint:
        if values["quantize.bits"] == "9":
            raise ConfigError("bits: 9")
        return compose(values)  # type: ignore[operator]

    space = {**SPACE, "quantize.bits": ChoiceAxis(("4", "9"))}
    with pytest.raises(ConfigError, match="bits: 9"):
        search.run_search("s", options(), space, strict, starter=StubStarter())
    assert not SweepStore("s").directory.exists()


@pytest.mark.parametrize(
    ("changes", "key", "former", "name"),
    [
        ({"objectives": ["accuracy", "size_bytes"]}, "search.objectives", "accuracy", "quality"),
        ({"limits": {"accuracy": 0.8}}, "search.limits", "accuracy", "quality"),
        ({"limits": {"validation_accuracy": 0.8}}, "search.limits", "validation_accuracy", "validation_quality"),
    ],
)
def test_a_former_name_of_a_figure_is_answered_with_the_new_one(
    compose: object, changes: dict[str, object], key: str, former: str, name: str
) -> None:
    with pytest.raises(ConfigError, match=f"{key}: there is no figure '{former}'. It is now called '{name}'."):
        search.run_search("s", options(**changes), SPACE, compose, starter=StubStarter())


def test_optuna_minimizes_a_quality_where_less_is_better() -> None:
    chosen = options(objectives=["quality", "size_bytes"])
    directions = [
        [direction.name for direction in search.create_study(chosen, metric).directions]
        for metric in (ACCURACY, Metric("RMSE", "mm", better="less"))
    ]
    assert directions == [["MAXIMIZE", "MINIMIZE"], ["MINIMIZE", "MINIMIZE"]]
