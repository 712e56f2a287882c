"""The Pareto front of estimates: never empty, the same in any order, and the classical one for exact figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.statistics import pareto
from edgeproof.statistics.pareto import Objective

# A point: for each objective the cost and the half width of its interval.
Point = tuple[tuple[float, float], ...]


def make_objectives(
    points: Sequence[Point], paired: Mapping[tuple[int, int], tuple[float, float]] | None = None
) -> list[Objective]:
    """Return the objectives of points with symmetric intervals; `paired` belongs to the first objective."""
    objectives = []
    for number in range(len(points[0])):
        costs, widths = (np.array([point[number][part] for point in points], float) for part in (0, 1))
        objectives.append(Objective(costs, widths, widths, (paired or {}) if number == 0 else {}))
    return objectives


def find_front_points(points: Sequence[Point]) -> list[Point]:
    return [points[index] for index in pareto.find_front(make_objectives(points))]


def list_points(objectives: int, width: float | None = None) -> st.SearchStrategy[list[Point]]:
    widths = st.integers(0, 4).map(float) if width is None else st.just(width)
    point = st.tuples(*[st.tuples(st.integers(0, 6).map(float), widths)] * objectives)
    return st.lists(point, min_size=1, max_size=14)


def beats(one: Point, other: Point) -> bool:
    """Return whether `one` beats `other` by the definition of the documentation, from normal variances."""
    quantile = NormalDist().inv_cdf(0.975)
    signs = []
    for (a, a_width), (b, b_width) in zip(one, other, strict=True):
        deviation = math.sqrt((a_width / quantile) ** 2 + (b_width / quantile) ** 2)
        is_shown = abs(a - b) > quantile * deviation + 1e-12
        signs.append(0 if not is_shown else 1 if a < b else -1)
    return 1 in signs and -1 not in signs


@pytest.mark.parametrize("objectives", [1, 2, 3])
@given(st.data())
def test_exact_figures_have_the_classical_front(objectives: int, data: st.DataObject) -> None:
    points = data.draw(list_points(objectives, width=1e-9))
    costs = [tuple(cost for cost, _ in point) for point in points]
    expected = [
        index
        for index, mine in enumerate(costs)
        if not any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True)) for other in costs)
    ]
    assert pareto.find_front(make_objectives(points)) == expected


@pytest.mark.parametrize("objectives", [1, 2, 3])
@given(st.data())
def test_the_front_is_never_empty_and_independent_of_the_order(objectives: int, data: st.DataObject) -> None:
    points = data.draw(list_points(objectives))
    front = find_front_points(points)
    assert front
    shuffled = data.draw(st.permutations(points))
    assert sorted(find_front_points(shuffled)) == sorted(front)


@pytest.mark.parametrize("objectives", [2, 3])
@given(st.data())
def test_each_point_is_on_the_front_or_beaten_by_one_that_is_and_the_front_beats_itself_only_in_circles(
    objectives: int, data: st.DataObject
) -> None:
    points = data.draw(list_points(objectives))
    front = pareto.find_front(make_objectives(points))
    direct = np.array([[beats(one, other) for other in points] for one in points])
    reach = direct.copy()
    for middle in range(len(points)):  # Warshall's transitive closure
        reach |= np.outer(reach[:, middle], reach[middle])
    for index in range(len(points)):
        beaters = [other for other in front if direct[other, index]]
        if index in front:
            assert all(reach[index, other] for other in beaters)
        else:
            assert beaters


def test_three_points_that_beat_one_another_in_a_circle_are_all_on_the_front_and_what_they_beat_is_not() -> None:
    # Each point beats the next one clearly in one figure, and the wide third point hides the other differences.
    circle: list[Point] = [
        ((0.0, 0.4), (1.5, 2.0), (3.0, 0.4)),
        ((3.0, 0.4), (0.0, 0.4), (1.5, 2.0)),
        ((1.5, 2.0), (3.0, 0.4), (0.0, 0.4)),
    ]
    for one, other in zip(circle, [*circle[1:], circle[0]], strict=True):
        assert beats(one, other)
    worse: Point = ((9.0, 0.1), (9.0, 0.1), (9.0, 0.1))
    assert find_front_points([*circle, worse]) == circle


def test_a_difference_within_the_intervals_neither_beats_nor_protects() -> None:
    # 91.80, 91.82 and 91.84% ± 0.5 are alike, so the fastest of the three beats the others.
    points: list[Point] = [((30.0, 1.0), (-91.80, 0.5)), ((40.0, 1.0), (-91.82, 0.5)), ((50.0, 1.0), (-91.84, 0.5))]
    assert find_front_points(points) == points[:1]
    # A point and a half is more than the intervals explain.
    better = ((50.0, 1.0), (-93.3, 0.5))
    assert find_front_points([*points, better]) == [points[0], better]


def test_small_differences_that_no_interval_shows_do_not_add_up_to_a_large_one() -> None:
    # Each point is 0.6 point less accurate than the next larger one, which ±0.5 does not show. Over two steps it does.
    small, medium, large = (((size, 0.0), (-accuracy, 0.5)) for size, accuracy in ((1, 91.0), (2, 91.6), (3, 92.2)))
    assert beats(small, medium)
    assert beats(medium, large)
    assert not beats(small, large)
    assert find_front_points([small, medium, large]) == [small, large]


def test_a_paired_difference_decides_where_there_is_one() -> None:
    # Intervals of ±0.5 hide 0.6 point, but the paired difference of the same samples shows it.
    points: list[Point] = [((-92.6, 0.5), (100.0, 1.0)), ((-92.0, 0.5), (50.0, 1.0))]
    assert pareto.find_front(make_objectives(points)) == [1]
    assert pareto.find_front(make_objectives(points, {(0, 1): (-0.9, -0.3)})) == [0, 1]
    assert pareto.find_front(make_objectives(points, {(1, 0): (0.3, 0.9)})) == [0, 1]


def test_an_unknown_interval_shows_no_difference() -> None:
    objective = Objective(np.array([1.0, 2.0]), np.array([np.inf, np.inf]), np.array([np.inf, np.inf]))
    assert pareto.find_front([objective]) == [0, 1]


def test_thousands_of_points_have_a_front_in_their_order() -> None:
    rng = np.random.default_rng(0)
    costs, widths = rng.random((2, 2000)), np.full(2000, 0.01)
    front = pareto.find_front([Objective(cost, widths, widths) for cost in costs])
    assert 0 < len(front) < 200
    assert all(a < b for a, b in itertools.pairwise(front))
