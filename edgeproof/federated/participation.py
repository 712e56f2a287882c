"""The clients that the server asks in a round, and those that give no answer or a late one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeproof.federated.seeds import Purpose, make_generator
from edgeproof.federated.settings import Settings


@dataclass(frozen=True)
class Participation:
    """Clients of one round in ascending order: those asked, and among them those that drop out or are late."""

    asked: tuple[int, ...]
    dropped: frozenset[int]
    late: frozenset[int]

    @property
    def answering(self) -> list[int]:
        """The clients that train and send an update, in time or late."""
        return [client for client in self.asked if client not in self.dropped]


def draw_participation(settings: Settings, clients: int, round_number: int) -> Participation:
    """Draw the clients of a round from the seed.

    The number of clients is fixed. With privacy, each client is asked independently of all others (Poisson sampling),
    which the accountant assumes.
    """
    generator = make_generator(settings.seed, Purpose.PARTICIPATION, round_number)
    if settings.privacy is None:
        count = max(1, round(settings.fraction * clients))
        asked = np.sort(generator.permutation(clients)[:count])
    else:
        asked = np.flatnonzero(generator.random(clients) < settings.fraction)
    chances = generator.random((2, clients))
    dropped = frozenset(int(client) for client in asked if chances[0, client] < settings.dropped)
    late = frozenset(int(client) for client in asked if chances[1, client] < settings.late) - dropped
    return Participation(tuple(int(client) for client in asked), dropped, late)
