"""Seeds of everything random in a federation, derived from the seed of the model, the round and the client."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The use of a random generator. Each use has a stream of its own."""

    PARTITION = 0
    PARTICIPATION = 1
    TRAINING = 2
    NOISE = 3


def derive_seed(seed: int, purpose: Purpose, round_number: int = 0, client: int = 0) -> int:
    """Return a seed of 63 bits that depends on every argument and on nothing else."""
    (state,) = np.random.SeedSequence([seed, int(purpose), round_number, client]).generate_state(1, np.uint64)
    return int(state >> np.uint64(1))


def make_generator(seed: int, purpose: Purpose, round_number: int = 0) -> np.random.Generator:
    """Return numpy's generator for one purpose in one round."""
    return np.random.default_rng(derive_seed(seed, purpose, round_number))
