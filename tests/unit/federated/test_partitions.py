"""Partitions: each sample at one client, with the distributions that their papers describe."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.errors import ConfigError
from edgeproof.federated import partitions

LABELS = np.arange(2000) % 10


def assert_is_partition(shares: partitions.Shares, samples: int) -> None:
    assert sorted(np.concatenate(shares).tolist()) == list(range(samples))


@given(st.integers(1, 40), st.integers(40, 200), st.integers(0, 99))
def test_iid_shares_differ_by_one_sample_at_most(clients: int, samples: int, seed: int) -> None:
    shares = partitions.split_iid(samples, clients, np.random.default_rng(seed))
    assert_is_partition(shares, samples)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("alpha", [0.5, 5.0, 100.0])
def test_dirichlet_proportions_have_the_mean_and_variance_of_the_distribution(alpha: float) -> None:
    clients = 5
    proportions = []
    for seed in range(60):
        shares = partitions.split_dirichlet(LABELS, clients, alpha, np.random.default_rng(seed))
        assert_is_partition(shares, len(LABELS))
        counts = np.array([np.bincount(LABELS[share], minlength=10) for share in shares])
        proportions.append(counts / counts.sum(0))
    values = np.stack(proportions)
    # Of a symmetric Dirichlet distribution with n parts: mean 1/n, variance (n − 1) / (n² (nα + 1)).
    assert values.mean() == pytest.approx(1 / clients)
    variance = (clients - 1) / (clients**2 * (clients * alpha + 1))
    assert values.var() == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize("clients", [10, 15, 40])
@pytest.mark.parametrize("per_client", [1, 2, 10])
def test_each_client_has_its_number_of_labels_in_equal_parts(clients: int, per_client: int) -> None:
    shares = partitions.split_by_label(LABELS, clients, per_client, np.random.default_rng(1))
    assert_is_partition(shares, len(LABELS))
    counts = np.array([np.bincount(LABELS[share], minlength=10) for share in shares])
    assert ((counts > 0).sum(1) == per_client).all()
    for column in counts.T:
        held = column[column > 0]
        assert held.max() - held.min() <= 1


@pytest.mark.parametrize(("clients", "per_client"), [(5, 2), (3, 4), (1, 10), (4, 3)])
def test_every_label_is_at_a_client_where_the_clients_can_hold_all(clients: int, per_client: int) -> None:
    for seed in range(20):
        shares = partitions.split_by_label(LABELS, clients, per_client, np.random.default_rng(seed))
        assert_is_partition(shares, len(LABELS))


def test_a_group_is_at_one_client() -> None:
    groups = np.repeat([7, 3, 9, 1, 4], [10, 20, 5, 1, 8])
    shares = partitions.split_by_group(groups, 3, np.random.default_rng(0))
    assert_is_partition(shares, len(groups))
    owners = [set(groups[share].tolist()) for share in shares]
    assert sum(len(owner) for owner in owners) == 5
    assert sorted(len(owner) for owner in owners) == [1, 2, 2]


def test_partitions_that_are_impossible_are_refused_with_advice() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(ConfigError, match=r"11 clients can't share 10 training samples\. Lower clients"):
        partitions.split_iid(10, 11, generator)
    with pytest.raises(ConfigError, match=r"alpha is 0, but a Dirichlet distribution needs a value above 0"):
        partitions.split_dirichlet(LABELS, 2, 0.0, generator)
    with pytest.raises(ConfigError, match=r"clients have no training sample: .* Raise alpha"):
        partitions.split_dirichlet(LABELS, 200, 0.001, generator)
    with pytest.raises(ConfigError, match=r"labels_per_client is 11, but the training samples have 10 labels"):
        partitions.split_by_label(LABELS, 4, 11, generator)
    with pytest.raises(ConfigError, match=r"3 clients with 2 labels each can't hold all 10 labels\. Raise clients or"):
        partitions.split_by_label(LABELS, 3, 2, generator)
    with pytest.raises(ConfigError, match=r"clients have no training sample"):
        partitions.split_by_label(np.arange(10), 10, 3, generator)
    with pytest.raises(ConfigError, match=r"4 clients can't share 3 groups\. Set clients to 3 or fewer"):
        partitions.split_by_group(np.array([1, 2, 3, 3]), 4, generator)
