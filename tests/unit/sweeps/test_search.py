"""Searches without DVC: trials, limits, resuming, and what Optuna finds against what there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError
from edgeproof.statistics.intervals import Estimate
from edgeproof.sweeps import results, search
from edgeproof.sweeps.search import Choice, Range, SearchOptions
from edgeproof.sweeps.store import Store
from edgeproof.sweeps.sweep import Wish
from tests.support.sweep_points import ROW, Starter, started, wish
from tests.support.sweep_points import here as here

pytestmark = pytest.mark.usefixtures("here")

SPACE = {"prune.ratio": Range(0.1, 0.6, None, False, False), "quantize.bits": Range(2, 8, None, False, True)}


def options(**changes: object) -> SearchOptions:
    content = {
        "space": {"unused": "here"},
        "objectives": ["accuracy", "size_bytes"],
        "trials": 8,
        "batch": 4,
        "sampler": "nsga2",
        "seed": 0,
        **changes,
    }
    return SearchOptions.model_validate(content)


@pytest.fixture
def compose(digits_study: Params) -> object:
    def compose(values: Mapping[str, str]) -> Wish:
        return wish(digits_study, ratio=float(values["prune.ratio"]), bits=int(values["quantize.bits"]))

    return compose


def overrides(name: str) -> list[tuple[str, ...]]:
    return [point.overrides for point in Store(name).asked().points]


@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random"])
def test_the_same_search_comes_to_the_same_trials_and_another_seed_to_others(compose: object, sampler: str) -> None:
    search.search("a", options(sampler=sampler), SPACE, compose, starter=Starter())
    search.search("b", options(sampler=sampler), SPACE, compose, starter=Starter())
    search.search("c", options(sampler=sampler, seed=1), SPACE, compose, starter=Starter())
    assert overrides("a") == overrides("b")
    assert overrides("a") != overrides("c")
    assert len(overrides("a")) == 8


def test_a_search_that_was_cut_short_goes_on_with_the_same_trials_and_repeats_nothing(compose: object) -> None:
    search.search("whole", options(), SPACE, compose, starter=Starter())
    search.search("cut", options(trials=4), SPACE, compose, starter=Starter())
    search.search("cut", options(), SPACE, compose, starter=Starter())
    assert overrides("cut") == overrides("whole")
    assert len(started(Store("cut"))) == len(set(started(Store("cut"))))


def test_the_front_is_kept_and_importance_told(compose: object) -> None:
    search.search("s", options(trials=12), SPACE, compose, starter=Starter())
    found = results.of(Store("s"))
    assert any(line.front for line in found)
    table = (Store("s").directory / "table.md").read_text()
    assert "that of accuracy, size_bytes" in table
    assert "| prune.ratio |" in table


def test_a_failed_trial_is_a_row_and_the_search_goes_on(compose: object) -> None:
    bad = Starter(behaviour={"quantize.bits=2": "failed", "quantize.bits=3": "failed", "quantize.bits=4": "failed"})
    code = search.search("s", options(trials=12), SPACE, compose, starter=bad)
    statuses = {Store("s").status(point.digest) for point in Store("s").asked().points}
    assert len(overrides("s")) == 12
    assert code == int("failed" in statuses)


def test_limits_steer_the_search_and_its_front_keeps_to_them(compose: object) -> None:
    search.search("s", options(trials=24, limits={"size_bytes": 2500}), SPACE, compose, starter=Starter())
    found = results.of(Store("s"))
    front = [line for line in found if line.front]
    assert front
    assert all(line.row.size_bytes <= 2500 for line in front)


def test_where_no_goal_is_met_the_front_is_kept_all_the_same(compose: object) -> None:
    search.search("s", options(limits={"size_bytes": 1}), SPACE, compose, starter=Starter())
    assert any(line.front for line in results.of(Store("s")))
    assert "no row is within the limits (size_bytes 1)" in (Store("s").directory / "table.md").read_text()


def test_a_trial_whose_figure_was_not_measured_is_as_far_off_as_can_be(compose: object) -> None:
    unmeasured = replace(ROW, p50_ns=None, verdict="invalid", reasons=("disturbed",))
    starter = Starter(rows={"seed=0": unmeasured})
    search.search("s", options(objectives=["accuracy", "p50_us"]), SPACE, compose, starter=starter)
    assert not any(line.front for line in results.of(Store("s")))


def test_the_worst_of_a_points_artifacts_counts() -> None:
    better = replace(ROW, accuracy=Estimate(0.95, 0, 1), size_bytes=500)
    found = [results.Line(None, "finished", row=row) for row in (ROW, better)]  # type: ignore[arg-type]
    assert search._worst(found, "accuracy") == 0.9
    assert search._worst(found, "size_bytes") == 1000


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"objectives": ["speed"]}, "no figure is called 'speed'"),
        ({"limits": {"p50": 3.0}}, "no figure is called 'p50'"),
        ({"limits": {"p50_us": 0.0}}, "must be greater than 0"),
    ],
)
def test_a_figure_that_does_not_exist_is_refused(compose: object, changes: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        search.search("s", options(**changes), SPACE, compose, starter=Starter())


def test_what_only_whole_numbers_can_be_is_no_interval(compose: object) -> None:
    """Both ends of interval(2, 8) are whole numbers; what lies between isn't."""

    def strict(values: Mapping[str, str]) -> Wish:
        if "." in values["quantize.bits"]:
            raise ConfigError(f"bits: {values['quantize.bits']}")
        return compose(values)  # type: ignore[operator]

    space = {**SPACE, "quantize.bits": Range(2, 8, None, False, False)}
    with pytest.raises(ConfigError, match=r"bits: \d\."):
        search.search("s", options(), space, strict, starter=Starter())


def test_an_end_of_the_space_that_no_study_can_have_is_refused_before_anything_runs(compose: object) -> None:
    def strict(values: Mapping[str, str]) -> Wish:
        if values["quantize.bits"] == "9":
            raise ConfigError("bits: 9")
        return compose(values)  # type: ignore[operator]

    space = {**SPACE, "quantize.bits": Choice(("4", "9"))}
    with pytest.raises(ConfigError, match="bits: 9"):
        search.search("s", options(), space, strict, starter=Starter())
    assert not Store("s").directory.exists()
