"""Split a user's own samples into train, validation and test, without a random number that depends on their order.

Equal samples are always in the same split, so that no copy of a test sample is trained on. The test split depends only
on the content of the samples. The validation samples are drawn from the rest by the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeproof.core.errors import DataError

SPLITS = ("train", "validation", "test")
# The part of data that has no splits of its own.
ALL = "all"
# Different samples of a class that a split into all three needs.
MIN_SAMPLES = 3

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Shares:
    """The shares that are split off: `test` of all samples, and `validation` of the others."""

    test: float
    validation: float


@dataclass(frozen=True, eq=False)
class Part:
    """A split: rows of the part of the user's data that is called `source`."""

    source: str
    rows: Array


def digest_samples(*arrays: Array) -> list[str]:
    """Return a digest of each sample's content. `arrays` have an entry for each sample."""
    rows = zip(*(np.ascontiguousarray(array) for array in arrays), strict=True)
    return [hashlib.sha256(b"".join(np.asarray(part).tobytes() for part in row)).hexdigest() for row in rows]


def complete_splits(
    digests: Mapping[str, Sequence[str]], classes: Mapping[str, Sequence[str]], shares: Shares, seed: int
) -> dict[str, Part]:
    """Return train, validation and test, each as rows of a part of the user's data.

    The parts are 'all', or 'train', 'test' and perhaps 'validation'. `digests` and `classes` have an entry for each
    sample of each part. The class is '' where there are no classes. Of each class, a share of the different samples is
    split off, at least one. Raises DataError for a class with too few different samples.
    """
    parts = {name: Part(name, np.arange(len(entries))) for name, entries in digests.items()}
    if ALL in parts:
        rest, test = _split(digests[ALL], classes[ALL], shares.test, seed=None, least=MIN_SAMPLES)
        parts = {"train": Part(ALL, rest), "test": Part(ALL, test)}
    if "validation" not in parts:
        source, rows = parts["train"].source, parts["train"].rows
        own, names = [digests[source][row] for row in rows], [classes[source][row] for row in rows]
        rest, validation = _split(own, names, shares.validation, seed=seed, least=MIN_SAMPLES - 1)
        parts |= {"train": Part(source, rows[rest]), "validation": Part(source, rows[validation])}
    return {split: parts[split] for split in SPLITS}


def note_shared_samples(digests: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return a note if samples of a test part are in another part too."""
    known = {digest for name, entries in digests.items() if name != "test" for digest in entries}
    count = sum(digest in known for digest in digests.get("test", ()))
    if not count:
        return ()
    return (f"{count} test sample(s) are equal to a training sample, so the measured quality may be too good",)


def _split(
    digests: Sequence[str], classes: Sequence[str], share: float, *, seed: int | None, least: int
) -> tuple[Array, Array]:
    """Return the rows of the larger and of the smaller part, which has `share` of the different samples of each class.

    A sample that several classes have goes with the first of them. Without a seed, the samples are taken in the order
    of their digests.
    """
    class_of: dict[str, str] = {}
    for digest, name in zip(digests, classes, strict=True):
        class_of[digest] = min(name, class_of.get(digest, name))
    chosen: set[str] = set()
    for name in sorted(set(classes)):
        different = sorted(digest for digest, own in class_of.items() if own == name)
        if len(different) < least:
            raise DataError(
                f"{f'class {name!r} has' if name else 'there are'} {len(different)} different sample(s), and at least "
                f"{least} are needed to split them. Add samples{' or remove the class' if name else ''}."
            )
        if seed is not None:
            different = [different[n] for n in np.random.default_rng(seed).permutation(len(different))]
        count = min(max(1, round(share * len(different))), len(different) - least + 1)
        chosen.update(different[:count])
    is_chosen = np.array([digest in chosen for digest in digests])
    return np.flatnonzero(~is_chosen), np.flatnonzero(is_chosen)
