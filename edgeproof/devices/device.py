"""A device as its card describes it: its transport, its interpreters, and its differences from the card."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from edgeproof.config import cards
from edgeproof.config.cards import Card, Fingerprint
from edgeproof.config.file_names import check_file_name
from edgeproof.connection.transport import DeviceTransport
from edgeproof.core import plugins
from edgeproof.paths import WORK


def open_transport(name: str, card: Card) -> DeviceTransport:
    """Return the transport to the device `name`. It keeps files on this machine in a directory of that name.

    Raises ConfigError for a name that is not a file name.
    """
    check_file_name("device", name)
    module = plugins.load("transports", card.transport)
    transport: DeviceTransport = module.Transport(WORK / "devices" / name, card.host)
    return transport


def read_card(name: str, runtime: str) -> Card:
    """Read a device's card for a session of `runtime`. Raises what cards.read() raises.

    The kernels of a runtime that sets TIMED to False run on another machine than the one they are for. Its session is
    one of an emulated device, whose durations are kept apart from measured ones.
    """
    card = cards.read(name)
    is_timed = getattr(plugins.load("runtimes", runtime), "TIMED", True)
    return card if is_timed else card.model_copy(update={"emulated": True})


def choose_interpreter(card: Card, runtime: str) -> str:
    """Return the device's Python interpreter for a runtime: the runtime's own, the card's, or the transport's."""
    own = (card.runtimes or {}).get(runtime) or card.python
    return own or str(getattr(plugins.load("transports", card.transport), "PYTHON", sys.executable))


def explain_missing_runtime(name: str, card: Card, runtime: str) -> str | None:
    """Return the reason why a device can't run `runtime`, or None if its card has the runtime."""
    if card.runtimes is None or runtime in card.runtimes:
        return None
    return f"device '{name}' has no runtime '{runtime}' (its card lists {', '.join(card.runtimes) or 'none'})"


def list_fingerprint_changes(expected: Fingerprint | None, reported: Mapping[str, Any]) -> list[str]:
    """Return the differences between a card's fingerprint and what the device reports, one readable line each."""
    fields = {} if expected is None else expected.model_dump(exclude_none=True)
    return [f"{key}: {value} → {reported.get(key)}" for key, value in fields.items() if reported.get(key) != value]


def list_changes_of_result(expected: Fingerprint | None, result: Mapping[str, Any]) -> list[str]:
    """Return how the device that sent a result differs from its card. A runner that was killed reports no device."""
    return list_fingerprint_changes(expected, result["fingerprint"]) if "fingerprint" in result else []
