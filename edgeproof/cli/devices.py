"""edgeproof devices list | show | add | probe | doctor: the registered devices, and what they say of themselves."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from edgeproof.config import cards, compose
from edgeproof.config.cards import Card
from edgeproof.config.params import Id, checked
from edgeproof.core.directories import write_text
from edgeproof.core.errors import ConfigError
from edgeproof.devices import doctor as devices_doctor
from edgeproof.devices import vela

NULL = "null"
FOUND, NOT_AS_EXPECTED = 0, 1
_ID: TypeAdapter[str] = TypeAdapter(Id)


def add_verbs(commands: Any) -> None:
    """Add `devices` and its verbs to the command line's parser."""
    parser = commands.add_parser("devices", help="list, show, add, probe and examine devices")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    listed = verbs.add_parser("list", help="every card in devices/")
    listed.add_argument("--tag", help="those with this tag")
    listed.set_defaults(function=_list)

    show = verbs.add_parser("show", help="a card with all its defaults")
    show.add_argument("name")
    show.set_defaults(function=_show)

    add = verbs.add_parser("add", help="probe a device and write its card")
    add.add_argument("name", help="the card becomes devices/NAME.yaml")
    add.add_argument("--transport", default="ssh", help="how it is reached (default: %(default)s)")
    add.add_argument("--host", help="what the transport calls it: an alias of ~/.ssh/config, adb's serial number")
    add.add_argument("--threads", type=int, default=1, help="threads a runtime may use (default: %(default)s)")
    add.add_argument("--python", help="interpreter on the device")
    add.add_argument("--emulated", action="store_true", help="an emulator: what it takes in time is no measurement")
    add.add_argument("--tags", type=lambda text: text.split(","), default=[], metavar="A,B")
    add.set_defaults(function=_add)

    probe = verbs.add_parser("probe", help="compare what a device says of itself with its card")
    probe.add_argument("name")
    probe.set_defaults(function=_probe)

    doctor = verbs.add_parser("doctor", help="say what a device lacks and the command that installs it")
    doctor.add_argument("name")
    doctor.set_defaults(function=_doctor)


def _list(arguments: argparse.Namespace) -> int:
    heads: tuple[str, ...] = ("name", "transport", "host", "architecture", "threads", "tags")
    lines = [heads]
    for name in cards.names():
        card = cards.card(name)
        if arguments.tag is None or arguments.tag in card.tags:
            words = (name, card.transport, card.host, card.architecture, card.threads, ",".join(card.tags))
            lines.append(tuple(str(word or "–") for word in words))
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())
    return FOUND


def _show(arguments: argparse.Namespace) -> int:
    print(_dumped(cards.card(arguments.name).model_dump(mode="json")), end="")
    return FOUND


def _add(arguments: argparse.Namespace) -> int:
    keys = ("transport", "host", "emulated", "threads", "python", "tags")
    asked = {key: getattr(arguments, key) for key in keys}
    register(arguments.name, {key: value for key, value in asked.items() if value not in (None, [], False)})
    return FOUND


def register(name: str, content: dict[str, Any]) -> None:
    """Write a device's card: what is given, and what the device says of itself. Raises ConfigError and DeviceError."""
    path = cards.CARDS / f"{name}.yaml"
    _check_name(name, path)
    card = checked(Card, content, f"the card of '{name}'")
    cards.check(card, f"the card of '{name}'")
    device = cards.transport(name, card)
    told = devices_doctor.described(device, card, NULL, {})
    print(f"{name}: {told.told().cpu or 'a processor that does not say its name'}")
    working = [runtime for runtime, packages in _needed().items() if _works(device, card, runtime, packages)]
    fingerprint = told.told()
    content |= {"architecture": fingerprint.architecture} if fingerprint.architecture else {}
    content |= {"runtimes": dict.fromkeys(working), "fingerprint": fingerprint.model_dump(exclude_none=True)}
    checked(Card, content, f"the card of '{name}'")
    write_text(path, _dumped(content))
    print(f"{path} is written; it can run {', '.join(working) or 'nothing yet'}.")
    if len(working) < len(_needed()):
        print(f"'edgeproof devices doctor {name}' says what it takes to run more; list it under 'runtimes' then.")


def renew(name: str) -> None:
    """Put what a device says of itself now into its card, where it says something else."""
    path, card = cards.CARDS / f"{name}.yaml", cards.card(name)
    told = devices_doctor.described(cards.transport(name, card), card, next(iter(card.runtimes or [NULL])), {}).told()
    if cards.changed(card.fingerprint, told.model_dump()):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        write_text(path, _dumped({**content, "fingerprint": told.model_dump(exclude_none=True)}))
        print(f"{path} has the device's new fingerprint.")


def _check_name(name: str, path: Path) -> None:
    try:
        _ID.validate_python(name)
    except ValidationError:
        raise ConfigError(f"a device can't be called '{name}': names are made of a-z, 0-9 and _.") from None
    if path.exists():
        raise ConfigError(f"{path} is there already. Remove it to write it anew.")


def _works(device: Any, card: Card, runtime: str, packages: Mapping[str, str]) -> bool:
    told = devices_doctor.described(device, card, runtime, packages)
    return not told.problems


def _probe(arguments: argparse.Namespace) -> int:
    name = arguments.name
    card = cards.card(name)
    runtime = next(iter(card.runtimes or [NULL]))
    told = devices_doctor.described(cards.transport(name, card), card, runtime, {}).told()
    differing = cards.changed(card.fingerprint, told.model_dump())
    for line in differing:
        print(f"changed: {line}")
    if differing or card.fingerprint is None:
        print(f"devices/{name}.yaml would hold:")
        print(_dumped({"fingerprint": told.model_dump(exclude_none=True)}), end="")
    else:
        print(f"{name} is the device of its card")
    return NOT_AS_EXPECTED if differing else FOUND


def _doctor(arguments: argparse.Namespace) -> int:
    card = cards.card(arguments.name)
    listed = [vela.RUNTIME] if card.npu is not None else card.runtimes
    needed = {name: of for name, of in _needed().items() if listed is None or name in listed}
    findings = devices_doctor.examined(arguments.name, card, needed)
    for finding in findings:
        print(f"{finding.problem}\n    {finding.cure}")
    if not findings:
        print(f"{arguments.name} has all it needs for {', '.join(needed) or 'nothing: its card lists no runtime'}")
    return NOT_AS_EXPECTED if findings else FOUND


def _needed() -> dict[str, dict[str, str]]:
    """The packages of every runtime that has any, in the versions that studies are composed for."""
    definitions = compose.measuring("quick").runtimes
    return {
        name: compose.pinned([*definition.device_packages, "mlcommons-loadgen", "numpy"])
        for name, definition in sorted(definitions.items())
        if definition.device_packages
    }


def _dumped(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120)
