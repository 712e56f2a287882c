"""The Pareto front holds the points that no other point dominates."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edgeproof.statistics import pareto

points = st.lists(st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float)), max_size=20)


@given(points)
def test_points_on_the_front_are_not_dominated_and_all_others_are_dominated_or_tied(
    given_points: list[tuple[float, float]],
) -> None:
    front = pareto.find_pareto_front(given_points)
    for index in range(len(given_points)):
        beaten = any(_dominates(other, given_points[index]) for other in given_points)
        if index in front:
            assert not beaten
        else:
            assert beaten or any(given_points[chosen] == given_points[index] for chosen in front)


def _dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(points.filter(bool))
def test_both_coordinates_rise_along_the_front(given_points: list[tuple[float, float]]) -> None:
    chosen = [given_points[index] for index in pareto.find_pareto_front(given_points)]
    assert chosen
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(chosen))
