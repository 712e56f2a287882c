"""Differential privacy: the clipped norm, the deviation of the noise, and epsilon."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeproof.core.errors import ConfigError
from edgeproof.federated import privacy
from edgeproof.federated.checkpoints import Checkpoints
from edgeproof.federated.messages import Update
from edgeproof.federated.participation import draw_participation
from edgeproof.federated.rounds import run_rounds
from edgeproof.federated.settings import Privacy
from edgeproof.federated.workers import run_here
from tests.support.federations import build_module, list_bits, make_federation, make_settings

pytestmark = pytest.mark.usefixtures("restore_torch_settings")
# In its first two rounds, one has no client.
SEED = 4
PRIVACY = Privacy(norm=0.5, noise=1.2, delta=1e-5)


def test_an_update_is_clipped_to_the_norm_in_its_direction() -> None:
    update = Update(np.array([3.0, 4.0], np.float32), np.zeros(0, np.float32), 1)
    np.testing.assert_allclose(privacy.clip(update, 0.5).difference, [0.3, 0.4])
    assert privacy.clip(update, 5.0) is update


def test_the_noise_has_the_documented_deviation() -> None:
    settings = make_settings(privacy=PRIVACY, weighting="uniform", fraction=0.25)
    noise = privacy.average_privately(np.zeros(100_000), PRIVACY, settings, 40, 1)
    # z · C on the sum, divided by the expected ten clients.
    assert noise.std() == pytest.approx(1.2 * 0.5 / 10, rel=0.02)
    assert abs(noise.mean()) < 0.001
    again = privacy.average_privately(np.zeros(100_000), PRIVACY, settings, 40, 2)
    assert abs(np.corrcoef(noise, again)[0, 1]) < 0.02


def test_a_round_without_a_client_gets_noise_too_so_that_it_looks_like_any_other() -> None:
    federation = make_federation(4, rounds=2, fraction=0.3, weighting="uniform", privacy=PRIVACY, seed=SEED)
    rounds = run_rounds(federation, run_here, Checkpoints(None))
    asked = [len(draw_participation(federation.settings, 4, number).asked) for number in (1, 2)]
    assert 0 in asked
    assert [entry.asked for entry in rounds] == asked
    assert list_bits(federation.module) != list_bits(build_module())


def test_clients_are_asked_independently() -> None:
    settings = make_settings(privacy=PRIVACY, fraction=0.3)
    counts = [len(draw_participation(settings, 50, number).asked) for number in range(400)]
    assert np.mean(counts) == pytest.approx(15, rel=0.05)
    assert np.var(counts) == pytest.approx(50 * 0.3 * 0.7, rel=0.2)  # of a binomial distribution


def test_statistics_and_weights_by_samples_are_refused() -> None:
    federation = make_federation(with_statistics=True, privacy=PRIVACY, weighting="uniform")
    with pytest.raises(ConfigError, match="statistics of batch normalization"):
        run_rounds(federation, run_here, Checkpoints(None))
    with pytest.raises(ConfigError, match="weighting: uniform"):
        run_rounds(make_federation(privacy=PRIVACY), run_here, Checkpoints(None))


def test_epsilon_without_sampling_is_that_of_the_gaussian_mechanism() -> None:
    pytest.importorskip("opacus", reason="an extra: pip install 'edgeproof[federated]'")
    rounds, noise, delta = 8, 4.0, 1e-5
    value = privacy.compute_epsilon(Privacy(1.0, noise, delta), 1.0, rounds)
    # Rényi divergence of order a: rounds · a / (2 z²). Conversion of Balle et al. (2020), minimized over a fine grid.
    orders = np.concatenate([np.arange(1.1, 11, 0.1), np.arange(11, 64)])
    epsilons = [
        rounds * a / (2 * noise**2) + math.log((a - 1) / a) - (math.log(delta) + math.log(a)) / (a - 1) for a in orders
    ]
    assert value == pytest.approx(min(epsilons), rel=1e-3)
    sampled = privacy.compute_epsilon(Privacy(1.0, noise, delta), 0.1, rounds)
    assert sampled < value / 3


def test_a_missing_accountant_is_named_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'edgeproof\[federated\]'"):
        privacy.check_accountant()
