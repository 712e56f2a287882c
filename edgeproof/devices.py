"""The registry of devices: one card a device in devices/, validated before anything runs."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import Field

from .core import plugins
from .core.errors import ConfigError, UnknownName
from .instructions import Method
from .params import Frozen, Id, checked

CARDS = Path("devices")


class Card(Frozen):
    """What devices/<name>.yaml may say."""

    transport: Id
    threads: int = Field(ge=1, le=256, description="threads a runtime may use")
    python: str | None = Field(default=None, description="interpreter on the device; this one's when left out")
    timeout_s: int = Field(default=600, ge=1, description="longest that one job may take beyond its least duration")
    instructions: Method | None = Field(default=None, description="how a final artifact's instructions are counted")
    energy_counter: str | None = Field(default=None, description="file that counts microjoules; RAPL's when left out")


def names(cards: Path = CARDS) -> list[str]:
    """The registered devices."""
    return sorted(path.stem for path in cards.glob("*.yaml"))


def card(name: str, cards: Path = CARDS) -> Card:
    """Read one device's card. Raises UnknownName or ConfigError."""
    path = cards / f"{name}.yaml"
    if name not in names(cards):
        raise UnknownName("device", name, names(cards), f"To add one: {path}.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    found = checked(Card, content, str(path))
    if found.transport not in plugins.names("transports"):
        raise plugins.unknown("transports", found.transport)
    return found
