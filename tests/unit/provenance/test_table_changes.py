"""Compare two tables: what is shown follows from intervals, and slower and faster are treated alike."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edgeproof.provenance.table_changes import CellChange, Change, compare_tables
from edgeproof.report.row import Row
from edgeproof.statistics.differences import subtract_estimates
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import Metric
from tests.support.example_rows import CONDITIONS, about, row

TASK = {**CONDITIONS, "task": "digits"}
OTHER_KERNEL = {**TASK, "kernel": "6.2"}
OPPOSITES = {"slower": "faster", "faster": "slower", "better": "worse", "worse": "better"}
OPPOSITES |= {"larger": "smaller", "smaller": "larger"}


def compare(before: Row, after: Row) -> CellChange:
    (cell,) = compare_tables([before], [after]).cells
    return cell


def measured(**more: object) -> Row:
    return row(**{"conditions": TASK, **more})


def test_equal_tables_have_no_changes_even_with_unknown_intervals() -> None:
    rows = [measured(), measured(model="student", p50_ns=Estimate(1.0, math.nan, math.nan))]
    changes = compare_tables(rows, [replace(each) for each in rows])
    assert changes.is_empty
    assert changes.unchanged == 2


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.1, "slower"), (1.02, "no difference shown"), (1.0, "no difference shown"), (0.9, "faster")],
)
def test_a_time_differs_if_the_interval_of_the_ratio_leaves_one(factor: float, verdict: str) -> None:
    before, after = measured(p50_ns=about(1e5, 0.02)), measured(p50_ns=about(1e5 * factor, 0.02), session=2)
    change = compare(before, after).time
    assert change is not None
    assert change.verdict == verdict
    assert change.value is not None
    assert change.value.value == pytest.approx(factor)
    half_width = math.hypot(math.log(1.02), math.log(1 / 0.98))
    assert math.log(change.value.high / factor) == pytest.approx(half_width)


def test_both_directions_are_judged_alike() -> None:
    before = [measured(model=f"m{n}", p50_ns=about(1e5, 0.01), size_bytes=1000) for n in range(40)]
    after = [
        measured(
            model=f"m{n}",
            artifact_sha256="1" * 64,
            p50_ns=about(1e5 * math.exp((n - 20) / 400), 0.01),
            quality=Estimate(0.9 + (n - 20) / 200, 0.89 + (n - 20) / 200, 0.91 + (n - 20) / 200),
            size_bytes=980 + n,
        )
        for n in range(40)
    ]
    there, back = compare_tables(before, after), compare_tables(after, before)
    for one, other in zip(there.cells, back.cells, strict=True):
        for name in ("time", "quality", "size"):
            first, second = getattr(one, name), getattr(other, name)
            assert OPPOSITES.get(first.verdict, first.verdict) == second.verdict
        assert one.time is not None
        assert other.time is not None
        assert one.time.value is not None
        assert other.time.value is not None
        assert one.time.value.value * other.time.value.value == pytest.approx(1)
    verdicts = {getattr(cell, name).verdict for cell in there.cells for name in ("time", "quality", "size")}
    assert verdicts == {*OPPOSITES, "same", "no difference shown"}


def test_times_under_other_conditions_are_not_compared() -> None:
    cell = compare(measured(), measured(conditions=OTHER_KERNEL, p50_ns=about(2e5)))
    assert cell.time == Change("not compared", reason="other conditions, and no ratio to the same reference")
    assert list(cell.unlike) == ["kernel: 6.1 → 6.2"]
    assert not cell.is_shown


def test_another_version_of_a_runtime_is_another_condition() -> None:
    cell = compare(measured(), measured(versions={"onnx": "1.1"}))
    assert list(cell.unlike) == ["packages.onnx: 1.0 → 1.1"]


def test_unknown_conditions_are_never_taken_for_like_ones() -> None:
    cell = compare(measured(), measured(conditions=None))
    assert cell.time is not None
    assert cell.time.verdict == "not compared"


def test_under_other_conditions_a_time_is_compared_with_the_reference_of_its_session() -> None:
    reference = ("teacher", "fp32")
    before = measured(model="student", speed_up=about(2.0, 0.01), reference=reference)
    after = measured(model="student", speed_up=about(1.6, 0.01), reference=reference, conditions=OTHER_KERNEL)
    change = compare(before, after).time
    assert change is not None
    assert (change.verdict, change.is_relative) == ("slower", True)
    assert change.value is not None
    assert change.value.value == pytest.approx(1.25)
    other = compare(before, replace(after, reference=("teacher", "fp16"))).time
    assert other is not None
    assert other.verdict == "not compared"


@pytest.mark.parametrize(
    ("p50_ns", "reason"),
    [
        (None, "no valid p50 after"),
        (Estimate(1e5, math.nan, math.nan), "no interval: too few processes"),
        (Estimate(1e5, -1.0, 2e5), "a time that is not positive"),
    ],
)
def test_a_time_without_a_usable_interval_is_not_compared(p50_ns: Estimate | None, reason: str) -> None:
    assert compare(measured(), measured(p50_ns=p50_ns)).time == Change("not compared", reason=reason)


def test_a_quality_is_judged_by_its_own_direction() -> None:
    metric = Metric("RMSE", better="less")
    before = measured(metric=metric, quality=Estimate(3.0, 2.9, 3.1))
    change = compare(before, replace(before, quality=Estimate(2.0, 1.9, 2.1), artifact_sha256="1")).quality
    assert change is not None
    assert change.verdict == "better"
    assert change.value is not None
    assert change.value.low == pytest.approx(-1 - math.hypot(0.1, 0.1))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"metric": Metric("macro F1")}, "another metric"),
        ({"conditions": {**TASK, "task": "letters"}}, "another task"),
        ({"quality": None}, "no valid quality after"),
        ({"quality": Estimate(0.5, math.nan, math.nan)}, "no interval"),
    ],
)
def test_qualities_that_do_not_compare_are_not_compared(changes: dict[str, object], reason: str) -> None:
    change = compare(measured(), measured(**changes)).quality
    assert change is not None
    assert (change.verdict, change.reason) == ("not compared", reason)


def test_new_and_vanished_cells_and_other_verdicts_are_told_apart() -> None:
    before = [measured(), measured(model="old"), measured(model="student")]
    after = [measured(), measured(model="student", verdict="invalid", p50_ns=None), measured(model="new")]
    changes = compare_tables(before, after)
    assert [each.model for each in changes.new] == ["new"]
    assert [each.model for each in changes.gone] == ["old"]
    assert [(cell.after.model, cell.has_other_verdict) for cell in changes.cells] == [("student", True)]
    assert changes.unchanged == 1


def test_the_interval_of_a_difference_covers_the_truth_as_often_as_it_says() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    errors = rng.normal(0, [[0.01], [0.02]], (2, 4000))
    covered = 0
    for one, other in errors.T:
        a = Estimate(0.9 + one, 0.9 + one - 1.96 * 0.01, 0.9 + one + 1.96 * 0.01)
        b = Estimate(0.8 + other, 0.8 + other - 1.96 * 0.02, 0.8 + other + 1.96 * 0.02)
        difference = subtract_estimates(a, b)
        covered += difference.low <= 0.1 <= difference.high
    assert covered / 4000 == pytest.approx(0.95, abs=0.012)
