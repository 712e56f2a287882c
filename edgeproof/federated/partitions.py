"""Partitions: which client holds which training samples.

The Dirichlet and label partitions are those of Li et al.: "Federated Learning on Non-IID Data Silos: An Experimental
Study" (2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeproof.core.errors import ConfigError

Array = np.ndarray[Any, Any]
# The rows of each client, sorted.
Shares = list[Array]


def split_iid(samples: int, clients: int, generator: np.random.Generator) -> Shares:
    """Deal the samples to the clients at random. Their numbers of samples differ by one at most."""
    _check_count(samples, clients)
    return [np.sort(part) for part in np.array_split(generator.permutation(samples), clients)]


def split_dirichlet(labels: Array, clients: int, alpha: float, generator: np.random.Generator) -> Shares:
    """Split each label among the clients in proportions drawn from a symmetric Dirichlet distribution.

    A small `alpha` gives clients with few labels. Raises ConfigError if a client gets no sample.
    """
    _check_count(len(labels), clients)
    if not alpha > 0:
        raise ConfigError(f"alpha is {alpha:g}, but a Dirichlet distribution needs a value above 0, such as 0.5.")
    parts: list[list[Array]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        ends = np.rint(np.cumsum(generator.dirichlet(np.full(clients, alpha))) * len(rows)).astype(int)
        for client, part in enumerate(np.split(rows, ends[:-1])):
            parts[client].append(part)
    return _finish(parts, "Raise alpha, lower clients, or change the seed.")


def split_by_label(labels: Array, clients: int, labels_per_client: int, generator: np.random.Generator) -> Shares:
    """Give each client some labels. The clients that have a label share its samples equally.

    Client i has label i modulo the number of labels, and further ones at random; those that no client would have
    otherwise are drawn first. Raises ConfigError if there are more labels than the clients can hold.
    """
    _check_count(len(labels), clients)
    names = np.unique(labels)
    if not 1 <= labels_per_client <= len(names):
        raise ConfigError(
            f"labels_per_client is {labels_per_client}, but the training samples have {len(names)} labels."
        )
    if clients * labels_per_client < len(names):
        raise ConfigError(
            f"{clients} clients with {labels_per_client} labels each can't hold all {len(names)} labels. Raise clients "
            "or labels_per_client."
        )
    chosen = []
    without_client = set(range(clients, len(names)))
    for client in range(clients):
        own = client % len(names)
        others = generator.permutation(np.delete(np.arange(len(names)), own)).tolist()
        others.sort(key=lambda label: label not in without_client)  # keeps the random order otherwise
        others = others[: labels_per_client - 1]
        without_client.difference_update(others)
        chosen.append({own, *others})
    parts: list[list[Array]] = [[] for _ in range(clients)]
    for number, label in enumerate(names):
        holders = [client for client in range(clients) if number in chosen[client]]
        rows = generator.permutation(np.flatnonzero(labels == label))
        for client, part in zip(holders, np.array_split(rows, len(holders)) if holders else [], strict=True):
            parts[client].append(part)
    return _finish(parts, "Lower clients.")


def split_by_group(groups: Array, clients: int, generator: np.random.Generator) -> Shares:
    """Give each client whole groups, such as persons or speakers, in random order. No group is split.

    Raises ConfigError if there are fewer groups than clients.
    """
    names = generator.permutation(np.unique(groups))
    if clients > len(names):
        raise ConfigError(f"{clients} clients can't share {len(names)} groups. Set clients to {len(names)} or fewer.")
    return [np.flatnonzero(np.isin(groups, part)) for part in np.array_split(names, clients)]


def _check_count(samples: int, clients: int) -> None:
    if clients > samples:
        raise ConfigError(f"{clients} clients can't share {samples} training samples. Lower clients.")


def _finish(parts: Sequence[Sequence[Array]], cure: str) -> Shares:
    """Join the parts of each client. Raises ConfigError that names the clients without a sample."""
    shares = [np.sort(np.concatenate([np.zeros(0, int), *own])) for own in parts]
    empty = [str(client) for client, share in enumerate(shares) if not len(share)]
    if empty:
        shown = ", ".join(empty[:8]) + (f" and {len(empty) - 8} more" if len(empty) > 8 else "")
        raise ConfigError(f"{len(empty)} of {len(shares)} clients have no training sample: {shown}. {cure}")
    return shares
