"""edgeproof farm run | status | release | history | regressions: measure a study on many devices, night after night."""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from edgeproof.cli import publishing
from edgeproof.config import cards
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.farm import (
    artifact_cache,
    dispatcher,
    engines,
    history_table,
    journal,
    leases,
    quarantine,
    regression_check,
)
from edgeproof.farm import history as histories

FINE, NOT_ALL_DONE = 0, 1
PARTS = ("device", "model", "runtime", "scheme", "scenario")
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

    history = verbs.add_parser("history", help="every cell's nights, with what was refused, missing, or changed")
    for part in PARTS:
        history.add_argument(f"--{part}", help="of the cells to show (default: all)")
    history.set_defaults(function=_history)

    regressions = verbs.add_parser("regressions", help="check a night: 0 nothing to report, 1 somebody has to look")
    regressions.add_argument("--run", help="the night to check (default: the latest)")
    regressions.set_defaults(function=_regressions)


def _run(arguments: argparse.Namespace) -> int:
    if not NAME.fullmatch(arguments.name):
        raise ConfigError(f"a run can't be called '{arguments.name}': names are made of a-z, 0-9, _ and -.")
    chosen = None if arguments.devices is None else _chosen(arguments.devices)
    params, built = dispatcher.prepared(arguments.study, chosen, arguments.name)
    for line in artifact_cache.keep(params, built):
        print(f"not kept: {line}", file=sys.stderr)
    engine = engines.started(arguments.engine, arguments.name, built, params, arguments.address)
    outcomes = dispatcher.farm(params, arguments.name, engine, _tell)
    try:
        fine = _checked(arguments.name)
    except EdgeproofError as error:  # what was measured stands, whatever is wrong with other nights
        print(f"the night could not be checked: {error}", file=sys.stderr)
        fine = False
    return FINE if set(outcomes.values()) <= {"done"} and fine else NOT_ALL_DONE


def _tell(line: str) -> None:
    """Print one line, in which a name may be anything: it can't begin another, nor steer the terminal."""
    print("".join(letter if letter.isprintable() else " " for letter in line), flush=True)


def _checked(run: str | None) -> bool:
    """Check a night and tell what was found; whether nobody has to look."""
    found = regression_check.check(run, _tell)
    for line in found.faster:
        _tell(f"faster: {line}")
    publishing.told_damaged(found.damaged)
    _tell(found.summary)
    return found.fine


def _regressions(arguments: argparse.Namespace) -> int:
    return FINE if _checked(arguments.run) else NOT_ALL_DONE


def _history(arguments: argparse.Namespace) -> int:
    told = histories.read()
    chosen = {part: getattr(arguments, part) for part in PARTS if getattr(arguments, part) is not None}
    for line in history_table.tables(told, chosen):
        _tell(line)
    return publishing.told_damaged(told.damaged)


def _chosen(words: Sequence[str]) -> list[str]:
    """Device names, and for 'tag:x' every device with that tag. Raises ConfigError where a tag has none."""
    found: dict[str, None] = {}
    for word in words:
        tag = word.removeprefix("tag:")
        named = [name for name in cards.names() if tag in cards.card(name).tags] if tag != word else [word]
        if not named:
            raise ConfigError(f"no device has the tag '{tag}'. 'edgeproof devices list' shows all tags.")
        found |= dict.fromkeys(named)
    for name in found:
        cards.card(name)
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
