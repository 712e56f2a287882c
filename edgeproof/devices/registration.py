"""Register a device: probe it, write its card, and keep the card's fingerprint up to date."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import yaml

from edgeproof.config import cards, compose, packages, runtime_extras
from edgeproof.config.cards import Card, Fingerprint
from edgeproof.config.validation import validate
from edgeproof.config.yaml_file import read_yaml
from edgeproof.core import plugins
from edgeproof.core.directories import write_text
from edgeproof.core.errors import ConfigError
from edgeproof.core.job import NULL_RUNTIME
from edgeproof.devices import device
from edgeproof.devices.description import describe


def register(name: str, content: dict[str, Any]) -> None:
    """Write a device's card from the given fields and from what the device reports about itself.

    Raises ConfigError when the name is invalid or taken or a field is invalid, and DeviceError when the device cannot
    be probed. Then no card is written.
    """
    cards.check_name(name)
    path = cards.CARDS / f"{name}.yaml"
    if path.exists():
        raise ConfigError(f"{path} already exists. Remove it to register '{name}' again.")
    where = f"the card of '{name}'"
    card = validate(Card, content, where)
    cards.check(card, where)
    transport = device.open_transport(name, card)
    fingerprint = describe(transport, card, NULL_RUNTIME, {}).to_card_fingerprint()
    print(f"{name}: {fingerprint.cpu or 'unknown processor'}")
    every = list_runtime_packages(plugins.list_names("runtimes"))
    working = [
        runtime for runtime, versions in every.items() if not describe(transport, card, runtime, versions).problems
    ]
    content |= {"architecture": fingerprint.architecture} if fingerprint.architecture else {}
    content |= {"runtimes": dict.fromkeys(working), "fingerprint": fingerprint.model_dump(exclude_none=True)}
    validate(Card, content, where)
    write_text(path, dump_yaml(content))
    print(f"Wrote {path}. Working runtimes: {', '.join(working) or 'none'}.")
    if not list_runtime_packages().keys() <= set(working):
        print(
            f"'edgeproof devices doctor {name}' shows how to install the other runtimes. "
            "Then list them under 'runtimes' in the card."
        )


def update_fingerprint(name: str) -> None:
    """Write the device's current fingerprint into its card if it differs from the one there."""
    path, card = cards.CARDS / f"{name}.yaml", cards.read(name)
    fingerprint = read_fingerprint(name, card)
    if device.list_fingerprint_changes(card.fingerprint, fingerprint.model_dump()):
        content = read_yaml(path)
        write_text(path, dump_yaml({**content, "fingerprint": fingerprint.model_dump(exclude_none=True)}))
        print(f"Updated the fingerprint in {path}.")


def read_fingerprint(name: str, card: Card) -> Fingerprint:
    """Ask a device for its fingerprint. Raises DeviceError when the device cannot be probed."""
    runtime = next(iter(card.runtimes or [NULL_RUNTIME]))
    return describe(device.open_transport(name, card), card, runtime, {}).to_card_fingerprint()


def list_runtime_packages(listed: Collection[str] = ()) -> dict[str, dict[str, str]]:
    """Return, by runtime, the packages it needs on a device, each with its pinned version.

    Runtimes whose packages are an extra are left out unless `listed` names them.
    """
    definitions = compose.compose_bench_settings("quick").runtimes
    return {
        name: packages.pin([*definition.device_packages, "mlcommons-loadgen", "numpy"])
        for name, definition in sorted(definitions.items())
        if definition.device_packages and (name in listed or runtime_extras.find_extra(name) is None)
    }


def dump_yaml(content: Mapping[str, Any]) -> str:
    """Return a card's content as YAML, its keys in the given order."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120)
