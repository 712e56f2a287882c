"""Differential privacy of clients: clipped updates, Gaussian noise, and the epsilon of all rounds.

McMahan et al.: "Learning Differentially Private Recurrent Language Models" (2018). Each client takes part in a round
with probability q, its update is clipped to the norm C, and the sum gets noise of standard deviation z · C. It is
divided by q times the number of clients, which does not depend on who takes part.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgeproof.core.errors import ConfigError
from edgeproof.federated.messages import Update
from edgeproof.federated.seeds import Purpose, make_generator
from edgeproof.federated.settings import Privacy, Settings

Array = np.ndarray[Any, Any]


def clip(update: Update, norm: float) -> Update:
    """Scale the difference of an update down to the norm if it is longer."""
    length = float(np.linalg.norm(update.difference.astype(np.float64)))
    if length <= norm:
        return update
    return replace(update, difference=update.difference.astype(np.float64) * (norm / length))


def average_privately(total: Array, privacy: Privacy, settings: Settings, clients: int, round_number: int) -> Array:
    """Return the sum of clipped updates with noise, divided by the expected number of clients in a round."""
    generator = make_generator(settings.seed, Purpose.NOISE, round_number)
    noise = generator.standard_normal(len(total)) * (privacy.noise * privacy.norm)
    return (total + noise) / (settings.fraction * clients)


def compute_epsilon(privacy: Privacy, fraction: float, rounds: int) -> float:
    """Return the epsilon that a client has after all rounds, at the settings' delta. Raises ConfigError without opacus.

    It is computed from Rényi divergences (Mironov, Talwar, Zhang, 2019) by the accountant of opacus.
    """
    check_accountant()
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(privacy.noise, fraction, rounds)]
    return float(accountant.get_epsilon(delta=privacy.delta))


def check_accountant() -> None:
    """Raise ConfigError if opacus, which computes epsilon, is not installed."""
    import importlib.util

    if importlib.util.find_spec("opacus") is None:
        raise ConfigError(
            "privacy needs the Python module 'opacus', which computes epsilon. Install it: "
            "pip install 'edgeproof[federated]', or 'pip install opacus' in a clone."
        )
