"""Operators that delegates run: those between a delegate's inputs and outputs, found without the engine's plan."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.delegates import ListedOperator, find_computed, find_delegated, list_run_operators

# x(0) ─ a ─▶ 2 ─ b ─▶ 3 ─ c ─▶ 4 ─ d ─▶ 5, with a constant 1 that b reads through a cast: 1 ─▶ 6.
CHAIN = [
    ListedOperator("A", (0,), (2,)),
    ListedOperator("CAST", (1,), (6,)),
    ListedOperator("B", (2, 6), (3,)),
    ListedOperator("C", (3,), (4,)),
    ListedOperator("D", (4,), (5,)),
]


def test_an_operator_between_two_delegates_is_in_neither() -> None:
    delegates = [ListedOperator("DELEGATE", (0, 1), (3,)), ListedOperator("DELEGATE", (4,), (5,))]
    assert find_delegated(CHAIN, delegates) == {0, 1, 2, 4}
    assert find_delegated(CHAIN, []) == set()


def test_operators_that_read_constants_alone_compute_nothing_in_an_inference() -> None:
    assert find_computed(CHAIN, [0]) == {0, 2, 3, 4, 5}


def test_an_operator_without_inputs_such_as_a_random_generator_runs_in_every_inference() -> None:
    assert find_computed([ListedOperator("RANDOM", (), (7,))], [0]) == {0, 7}


@given(st.integers(1, 20), st.data())
def test_a_delegate_of_neighbours_in_a_chain_is_exactly_these(length: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, length - 1))
    last = data.draw(st.integers(first, length - 1))
    chain = [ListedOperator("X", (number,), (number + 1,)) for number in range(length)]
    delegate = ListedOperator("DELEGATE", (first,), (last + 1,))
    assert find_delegated(chain, [delegate]) == set(range(first, last + 1))


def test_the_operators_of_an_inference_are_listed_with_their_tensors_and_who_runs_them() -> None:
    listed = [*CHAIN, ListedOperator("DELEGATE", (0, 1, -1), (3,))]
    assert list_run_operators(listed, "DELEGATE", [0]) == [
        ("A", 0, 2, True),
        ("B", 2, 3, True),
        ("C", 3, 4, False),
        ("D", 4, 5, False),
    ]
