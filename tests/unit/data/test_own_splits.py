"""Splits of a user's own samples: whole, disjoint by content, stratified, and independent of the order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.errors import DataError
from edgeproof.data.own_splits import Part, Shares, complete_splits, digest_samples, note_shared_samples

SHARES = st.builds(Shares, st.floats(0.01, 0.9), st.floats(0.01, 0.9))


@st.composite
def draw_samples(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Return digests and classes: at least three different samples of each class, in any order, some of them twice."""
    samples = [
        (f"{name}{number}", name)
        for name in draw(st.sampled_from(["a", "ab", "abc"]))
        for number in range(draw(st.integers(3, 20)))
    ]
    samples += draw(st.lists(st.sampled_from(samples), max_size=10))
    order = draw(st.permutations(samples))
    return [digest for digest, _ in order], [name for _, name in order]


def list_contents(parts: dict[str, Part], digests: list[str]) -> dict[str, list[str]]:
    return {split: [digests[row] for row in part.rows] for split, part in parts.items()}


@given(draw_samples(), SHARES, st.integers(0, 3))
def test_every_sample_is_in_one_split_and_copies_are_together(
    samples: tuple[list[str], list[str]], shares: Shares, seed: int
) -> None:
    digests, classes = samples
    parts = complete_splits({"all": digests}, {"all": classes}, shares, seed)
    assert sorted(row for part in parts.values() for row in part.rows) == list(range(len(digests)))
    contents = list_contents(parts, digests)
    assert sum(len(set(own)) for own in contents.values()) == len(set(digests))
    for own in contents.values():
        assert {digest[0] for digest in own} == set(classes)


@given(draw_samples(), SHARES, st.integers(0, 3), st.randoms())
def test_splits_do_not_depend_on_the_order(
    samples: tuple[list[str], list[str]], shares: Shares, seed: int, random: object
) -> None:
    digests, classes = samples
    order = sorted(range(len(digests)), key=lambda row: (hash((row, 7)), row))
    shuffled = [digests[row] for row in order], [classes[row] for row in order]
    first, second = (
        list_contents(complete_splits({"all": own}, {"all": names}, shares, seed), own)
        for own, names in (samples, shuffled)
    )
    assert {split: Counter(own) for split, own in first.items()} == {
        split: Counter(own) for split, own in second.items()
    }


def test_the_shares_hold_for_each_class() -> None:
    digests = [f"{name}{number:03}" for name in "ab" for number in range(100)]
    classes = [digest[0] for digest in digests]
    parts = complete_splits({"all": digests}, {"all": classes}, Shares(test=0.2, validation=0.25), 0)
    counts = {split: Counter(digest[0] for digest in own) for split, own in list_contents(parts, digests).items()}
    assert counts == {"train": {"a": 60, "b": 60}, "validation": {"a": 20, "b": 20}, "test": {"a": 20, "b": 20}}


def test_another_seed_draws_other_validation_samples_and_the_same_test_samples() -> None:
    digests = [f"{number:03}" for number in range(100)]
    one, two = (
        list_contents(complete_splits({"all": digests}, {"all": [""] * 100}, Shares(0.2, 0.2), seed), digests)
        for seed in (0, 1)
    )
    assert one["test"] == two["test"]
    assert one["validation"] != two["validation"]


def test_given_parts_stay_as_they_are() -> None:
    parts = {name: [f"{name}{number}" for number in range(5)] for name in ("train", "validation", "test")}
    classes = {name: [""] * 5 for name in parts}
    result = complete_splits(parts, classes, Shares(0.5, 0.5), 0)
    assert {split: (part.source, part.rows.tolist()) for split, part in result.items()} == {
        split: (split, [0, 1, 2, 3, 4]) for split in parts
    }


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(DataError, match=r"there are 2 different sample\(s\), and at least 3"):
        complete_splits({"all": ["a", "b", "b"]}, {"all": ["", "", ""]}, Shares(0.5, 0.5), 0)


def test_a_digest_depends_on_all_arrays_of_a_sample() -> None:
    one, two = np.arange(6).reshape(3, 2), np.array([0, 0, 1])
    assert len(set(digest_samples(one, two))) == 3
    assert len(set(digest_samples(np.zeros((3, 2)), two))) == 2


def test_shared_samples_are_counted() -> None:
    assert note_shared_samples({"train": ["a"], "test": ["b"]}) == ()
    (note,) = note_shared_samples({"train": ["a", "b"], "test": ["b", "b", "c"]})
    assert note.startswith("2 test sample(s)")
