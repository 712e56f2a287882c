"""Splits by group: no group is in two splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.errors import DataError
from edgeproof.core.splits import split_groups


@given(st.lists(st.sampled_from("abcdefgh"), min_size=20, max_size=60), st.integers(1, 8), st.integers(0, 9))
def test_validation_has_the_requested_size_and_shares_no_group(names: list[str], count: int, seed: int) -> None:
    groups = np.array(names)
    try:
        train, validation = split_groups(groups, count, seed)
    except DataError:
        assert len(set(names)) < 8 or count > 1
        return
    assert len(validation) == count
    assert not set(groups[train]) & set(groups[validation])
    # Only the rest of one group, the last one taken, is in neither split.
    unused = set(range(len(groups))) - set(train.tolist()) - set(validation.tolist())
    assert len({names[row] for row in unused}) <= 1
    assert sorted(train.tolist()) == train.tolist()
    assert sorted(validation.tolist()) == validation.tolist()


def test_the_split_depends_only_on_the_seed() -> None:
    groups = np.repeat(np.arange(30), 3)
    (_, first), (_, again), (_, other) = (split_groups(groups, 9, seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


@pytest.mark.parametrize("count", [4, 5])
def test_too_few_groups_are_a_data_error(count: int) -> None:
    with pytest.raises(DataError, match="Lower validation_samples"):
        split_groups(np.array(["a", "a", "b", "b"]), count, 0)
