"""edgeproof farm run | status | release: measure a study on many devices, and say how that goes."""

from __future__ import annotations

import argparse
import datetime
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from . import devices
from .core.errors import ConfigError
from .farm import engines, journal, leases, quarantine, running

FINE, NOT_ALL_DONE = 0, 1
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def add_verbs(commands: Any) -> None:
    """Add `farm` and its verbs to the command line's parser."""
    parser = commands.add_parser("farm", help="measure a study on many devices, every night")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    run = verbs.add_parser("run", help="run what is not finished; the same command continues after a crash")
    run.add_argument("--study", help="one of conf/study, built before (default: the default study)")
    run.add_argument("--devices", type=lambda text: text.split(","), metavar="A,tag:B", help="(default: the study's)")
    run.add_argument("--name", default=_today(), help="of the run and its records (default: today, %(default)s)")
    run.add_argument("--engine", default="local", help=f"one of {', '.join(engines.names())} (default: %(default)s)")
    run.add_argument("--address", help="of a running Ray cluster (default: one of this host, for this run)")
    run.set_defaults(function=_run)

    status = verbs.add_parser("status", help="what a run has done, who has which device, and what is in quarantine")
    status.add_argument("--name", help="of the run (default: the latest)")
    status.set_defaults(function=_status)

    release = verbs.add_parser("release", help="let a device that is in quarantine take part again")
    release.add_argument("device")
    release.set_defaults(function=_release)


def _run(arguments: argparse.Namespace) -> int:
    if not NAME.fullmatch(arguments.name):
        raise ConfigError(f"a run can't be called '{arguments.name}': names are made of a-z, 0-9, _ and -.")
    chosen = None if arguments.devices is None else _chosen(arguments.devices)
    params, built = running.prepared(arguments.study, chosen, arguments.name)
    engine = engines.started(arguments.engine, arguments.name, built, params, arguments.address)
    outcomes = running.farm(params, arguments.name, engine, lambda line: print(line, flush=True))
    return FINE if set(outcomes.values()) <= {"done"} else NOT_ALL_DONE


def _chosen(words: Sequence[str]) -> list[str]:
    """Device names, and for 'tag:x' every device with that tag. Raises ConfigError where a tag has none."""
    found: dict[str, None] = {}
    for word in words:
        tag = word.removeprefix("tag:")
        named = [name for name in devices.names() if tag in devices.card(name).tags] if tag != word else [word]
        if not named:
            raise ConfigError(f"no device has the tag '{tag}'. 'edgeproof devices list' shows all tags.")
        found |= dict.fromkeys(named)
    for name in found:
        devices.card(name)
    return list(found)


def _status(arguments: argparse.Namespace) -> int:
    names = sorted(engines.FARM.glob(f"*/{engines.JOURNAL}"), key=lambda path: path.stat().st_mtime)
    known = [path.parent.name for path in names]
    if not known or arguments.name not in (None, *known):
        raise ConfigError(f"there is no such run. Runs: {', '.join(known) or 'none'}. 'edgeproof farm run' makes one.")
    name = arguments.name or known[-1]
    last = journal.last(journal.read(engines.FARM / name / engines.JOURNAL))
    held = {device for device in {event.device for event in last.values()} if leases.holder(device)}
    states = {job: _state(event, held) for job, event in last.items()}
    for job, event in sorted(last.items()):
        print(f"{event.at}  {event.device}  {job}: {states[job]}{f': {event.reason}' if event.reason else ''}")
    for device in sorted(held):
        print(f"{device} is with {leases.holder(device)}")
    for device in quarantine.devices():
        print(quarantine.of(device))
    counted = ", ".join(f"{count} {state}" for state, count in sorted(Counter(states.values()).items()))
    print(f"run {name}: {counted or 'nothing begun'}")
    bad = quarantine.devices() or any(state in ("failed", "abandoned", "interrupted") for state in states.values())
    return NOT_ALL_DONE if bad else FINE


def _state(event: journal.Event, held: set[str]) -> str:
    if event.kind == "started":
        return "running" if event.device in held else "interrupted"
    return event.kind


def _release(arguments: argparse.Namespace) -> int:
    quarantine.release(arguments.device)
    print(f"device '{arguments.device}' takes part again")
    return FINE


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
