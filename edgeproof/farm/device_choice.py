"""Choose the devices of a farm's run. A device whose card is wrong is left out, and the others are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeproof.config import cards, compose
from edgeproof.config.cards import Card
from edgeproof.core.errors import ConfigError, EdgeproofError

TAG = "tag:"


@dataclass(frozen=True)
class DeviceChoice:
    """The devices of a run.

    Attributes:
        devices: names of the devices, or None for all devices of the study.
        errors: the error of each card that is wrong and may belong to the run, by the name of the device.
    """

    devices: Sequence[str] | None
    errors: Mapping[str, EdgeproofError]


def choose_devices(study: str | None, words: Sequence[str] | None) -> DeviceChoice:
    """Return the devices to measure.

    Args:
        study: name of the study, or None for the default one.
        words: names of devices, and 'tag:x' for all devices with that tag. None stands for the study's own devices.

    Raises UnknownNameError for a device without a card, and ConfigError for a tag that no device has or if all cards
    are wrong.
    """
    readable, errors = cards.read_all()
    if words is None:
        names = compose.list_study_devices(study) if errors else []
        errors = {name: error for name, error in errors.items() if name in names}
        if not errors:
            return DeviceChoice(None, {})
    else:
        names = _expand_tags(words, readable, errors)
        # The tags of a wrong card are unknown, so it may belong to the run.
        has_tags = any(word.startswith(TAG) for word in words)
        errors = {name: error for name, error in errors.items() if has_tags or name in names}
    for name in names:
        if name not in errors:
            cards.read(name)
    chosen = [name for name in names if name not in errors]
    if not chosen:
        raise ConfigError(f"no device is left to measure. {' '.join(map(str, errors.values()))}")
    return DeviceChoice(chosen, errors)


def _expand_tags(words: Sequence[str], readable: Mapping[str, Card], errors: Mapping[str, EdgeproofError]) -> list[str]:
    """Return the names of devices, each once, with every 'tag:x' replaced by the devices that have the tag."""
    names: dict[str, None] = {}
    for word in words:
        tag = word.removeprefix(TAG)
        matching = [name for name, card in readable.items() if tag in card.tags] if tag != word else [word]
        if not matching:
            wrong = f" Cards that cannot be read: {', '.join(errors)}." if errors else ""
            raise ConfigError(f"no device has the tag '{tag}'. 'edgeproof devices list' shows all tags.{wrong}")
        names |= dict.fromkeys(matching)
    return list(names)
