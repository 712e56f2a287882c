"""Splits of samples that come in groups, such as the clips of one speaker: a group is in one split only."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeproof.core.errors import DataError

Array = np.ndarray[Any, Any]


def split_groups(groups: Array, validation_samples: int, seed: int) -> tuple[Array, Array]:
    """Return the rows to train on and exactly `validation_samples` rows of other groups, both sorted.

    `groups` (N,) names the group of each row. Groups are taken in an order that `seed` draws; the rest of the last one
    is in neither split. Raises DataError if this leaves nothing to train on.
    """
    names, numbers = np.unique(groups, return_inverse=True)
    places = np.random.default_rng(seed).permutation(len(names))[numbers]
    validation = np.sort(np.argsort(places, kind="stable")[:validation_samples])
    train = np.flatnonzero(~np.isin(groups, groups[validation]))
    if len(validation) < validation_samples or not len(train):
        raise DataError(
            f"{len(groups)} training samples of {len(names)} groups are too few for {validation_samples} validation "
            "samples of other groups. Lower validation_samples."
        )
    return train, validation
