"""edgeproof devices list | show | add | probe | doctor: the registered devices."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from edgeproof.cli.options import split_names
from edgeproof.cli.output import format_columns, show

OK, PROBLEMS = 0, 1


def add_commands(commands: Any) -> None:
    """Add `devices` and its subcommands to the command line's parser."""
    parser = commands.add_parser("devices", help="list, show, add, probe and check devices")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = verbs.add_parser("list", help="list the cards in devices/")
    listing.add_argument("--tag", help="list only devices with this tag")
    listing.set_defaults(function=_list)

    show = verbs.add_parser("show", help="print a device's card with all its defaults")
    show.add_argument("name", help="a device in devices/")
    show.set_defaults(function=_show)

    add = verbs.add_parser("add", help="probe a device and write its card")
    add.add_argument("name", help="the card becomes devices/NAME.yaml")
    add.add_argument("--transport", default="ssh", help="local, ssh, adb or fake (default: %(default)s)")
    add.add_argument("--host", help="the device's address: an alias in ~/.ssh/config, or a serial number of adb")
    add.add_argument("--threads", type=int, default=1, help="threads that a runtime may use (default: %(default)s)")
    add.add_argument("--python", help="Python interpreter on the device (default: the transport's)")
    add.add_argument("--emulated", action="store_true", help="the device is an emulator: do not report its latencies")
    add.add_argument("--tags", type=split_names, default=[], metavar="A,B", help="tags to select the device by")
    add.set_defaults(function=_add)

    probe = verbs.add_parser("probe", help="compare a device's current fingerprint with its card")
    probe.add_argument("name", help="a device in devices/")
    probe.set_defaults(function=_probe)

    doctor = verbs.add_parser("doctor", help="list what a device lacks and the commands that install it")
    doctor.add_argument("name", help="a device in devices/")
    doctor.set_defaults(function=_doctor)


def _list(arguments: argparse.Namespace) -> int:
    from edgeproof.config import cards

    header: tuple[str, ...] = ("name", "transport", "host", "architecture", "threads", "tags")
    lines = [header]
    readable, errors = cards.read_all()
    for name, card in readable.items():
        if arguments.tag is None or arguments.tag in card.tags:
            words = (name, card.transport, card.host, card.architecture, card.threads, ",".join(card.tags))
            lines.append(tuple(str(word or "–") for word in words))
    for line in format_columns(lines):
        show(line)
    for name, error in errors.items():
        show(f"skipped device '{name}': {error}", file=sys.stderr)
    return PROBLEMS if errors else OK


def _show(arguments: argparse.Namespace) -> int:
    from edgeproof.config import cards
    from edgeproof.devices import registration

    show(registration.dump_yaml(cards.read(arguments.name).model_dump(mode="json")), end="")
    return OK


def _add(arguments: argparse.Namespace) -> int:
    from edgeproof.devices import registration

    keys = ("transport", "host", "emulated", "threads", "python", "tags")
    fields = {key: getattr(arguments, key) for key in keys}
    registration.register(
        arguments.name, {key: value for key, value in fields.items() if value not in (None, [], False)}
    )
    return OK


def _probe(arguments: argparse.Namespace) -> int:
    from edgeproof.config import cards
    from edgeproof.devices import device, registration

    name = arguments.name
    card = cards.read(name)
    fingerprint = registration.read_fingerprint(name, card)
    changes = device.list_fingerprint_changes(card.fingerprint, fingerprint.model_dump())
    for change in changes:
        show(f"changed: {change}")
    if changes or card.fingerprint is None:
        show(f"To accept the device as it is now, put this into devices/{name}.yaml:")
        show(registration.dump_yaml({"fingerprint": fingerprint.model_dump(exclude_none=True)}), end="")
    else:
        show(f"'{name}' matches its card.")
    return PROBLEMS if changes else OK


def _doctor(arguments: argparse.Namespace) -> int:
    from edgeproof.config import cards
    from edgeproof.devices import doctor, registration, vela

    card = cards.read(arguments.name)
    # A new board has no runtime yet, so nothing in its card says which it shall have.
    listed = [vela.RUNTIME] if card.npu is not None else card.runtimes or None
    needed = {
        runtime: packages
        for runtime, packages in registration.list_runtime_packages(listed or ()).items()
        if listed is None or runtime in listed
    }
    diagnoses = doctor.diagnose(arguments.name, card, needed)
    for diagnosis in diagnoses:
        show(f"{diagnosis.problem}\n    {diagnosis.cure}")
    if not diagnoses:
        show(f"'{arguments.name}' has everything it needs. Runtimes: {', '.join(needed)}.")
    return PROBLEMS if diagnoses else OK
