"""edgeproof farm run | status | release | history | regressions: measure a study on many devices every night."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from edgeproof.cli.options import split_names
from edgeproof.cli.output import show, show_line
from edgeproof.cli.records import report_damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from edgeproof.farm.journal import JournalEvent

OK, NEEDS_ATTENTION = 0, 1
CELL_PARTS = ("device", "model", "runtime", "scheme", "scenario")


def add_commands(commands: Any) -> None:
    """Add `farm` and its subcommands to the command line's parser."""
    parser = commands.add_parser("farm", help="measure a study on many devices every night")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    run = verbs.add_parser("run", help="run all jobs that are not finished; run it again to continue after a crash")
    run.add_argument("--study", help="a study in conf/study that is already built (default: the default study)")
    run.add_argument(
        "--devices", type=split_names, metavar="A,tag:B", help="names or tags of devices (default: the study's)"
    )
    run.add_argument("--name", default=_today(), help="name of the run and its records (default: today, %(default)s)")
    run.add_argument("--engine", default="local", help="local or ray (default: %(default)s)")
    run.add_argument("--address", help="address of a running Ray cluster (default: start one on this machine)")
    run.set_defaults(function=_run)

    status = verbs.add_parser("status", help="show a run's jobs, devices in use, and devices in quarantine")
    status.add_argument("--name", help="name of the run (default: the latest)")
    status.set_defaults(function=_status)

    release = verbs.add_parser("release", help="take a device out of quarantine")
    release.add_argument("device", help="a device in quarantine")
    release.set_defaults(function=_release)

    history = verbs.add_parser(
        "history", help="show all nights of each cell, with refused and missing runs and changes"
    )
    for part in CELL_PARTS:
        history.add_argument(f"--{part}", help=f"show only cells with this {part} (default: all)")
    history.set_defaults(function=_history)

    regressions = verbs.add_parser("regressions", help="check a night again; exit with 1 if it needs attention")
    regressions.add_argument("--run", help="the night to check (default: the latest)")
    regressions.set_defaults(function=_regressions)


def _run(arguments: argparse.Namespace) -> int:
    from edgeproof.farm import artifact_cache, device_choice, dispatcher, engines, run_params

    name = run_params.check_run_name(arguments.name)
    choice = device_choice.choose_devices(arguments.study, arguments.devices)
    for device, error in choice.errors.items():
        show(f"skipped device '{device}': {' '.join(str(error).split())}", file=sys.stderr)
    params, built = run_params.prepare_run(arguments.study, choice.devices, name, choice.errors)
    for problem in artifact_cache.store_artifacts(params, built):
        show(f"not cached: {problem}", file=sys.stderr)
    engine = engines.start_engine(arguments.engine, name, built, params, arguments.address)
    outcomes = dispatcher.run_study(params, name, engine, show_line)
    devices = {item.device for item in params.bench.values()}
    are_deployments_clean = _is_clean("deployments", lambda: _check_deployments(name, devices))
    is_night_clean = _is_clean("the night", lambda: _check_night(name))
    is_done = set(outcomes.values()) <= {"done"}
    return OK if is_done and is_night_clean and are_deployments_clean and not choice.errors else NEEDS_ATTENTION


def _is_clean(subject: str, check: Callable[[], bool]) -> bool:
    """Run a check and return its result. Tonight's records stay valid, and other checks run, even if it fails."""
    from edgeproof.core.errors import EdgeproofError

    try:
        return check()
    except EdgeproofError as error:
        show(f"the check of {subject} failed: {error}", file=sys.stderr)
        return False


def _check_deployments(run: str, devices: Collection[str]) -> bool:
    """Check what is deployed on the night's devices and print the alarms. Return True if there is none."""
    from edgeproof.deployment import device_deployment, expected_versions, night_check

    names = sorted(set(devices) & set(expected_versions.list_devices()))
    if not names:
        return True
    written = night_check.check_deployments(run, device_deployment.list_targets(names), show_line)
    show_line(f"deployments: {len(names) - len(written)} of {len(names)} device(s) run their version unchanged")
    return not written


def _regressions(arguments: argparse.Namespace) -> int:
    return OK if _check_night(arguments.run) else NEEDS_ATTENTION


def _history(arguments: argparse.Namespace) -> int:
    from edgeproof.farm import history_reader, history_table

    history = history_reader.read_history()
    chosen = {part: getattr(arguments, part) for part in CELL_PARTS if getattr(arguments, part) is not None}
    code = report_damaged(history.damaged)
    for line in history_table.format_tables(history, chosen):
        show_line(line)
    return code


def _status(arguments: argparse.Namespace) -> int:
    from edgeproof.core.errors import ConfigError
    from edgeproof.farm import engines, journal, leases, quarantine

    journals = sorted(engines.FARM.glob(f"*/{engines.JOURNAL}"), key=lambda path: path.stat().st_mtime)
    runs = [path.parent.name for path in journals]
    quarantined = quarantine.list_devices()
    for device in quarantined:
        show(quarantine.describe(device))
    if not runs:
        raise ConfigError("there is no run yet. Start one with 'edgeproof farm run'.")
    if arguments.name not in (None, *runs):
        raise ConfigError(f"there is no run '{arguments.name}'. Runs: {', '.join(runs)}.")
    name = arguments.name or runs[-1]
    damaged: list[str] = []
    last = journal.latest_by_job(journal.read(engines.FARM / name / engines.JOURNAL, damaged))
    holders = {device: leases.describe_holder(device) for device in sorted({event.device for event in last.values()})}
    leased = {device for device, holder in holders.items() if holder is not None}
    states = {job: _job_state(event, leased) for job, event in last.items()}
    for job, event in sorted(last.items()):
        show(f"{event.at}  {event.device}  {job}: {states[job]}{f': {event.reason}' if event.reason else ''}")
    for device in sorted(leased):
        show(f"{device} is in use by {holders[device]}")
    counts = ", ".join(f"{count} {state}" for state, count in sorted(Counter(states.values()).items()))
    show(f"run {name}: {counts or 'no job started'}")
    for line in damaged:
        show(f"skipped: {line}", file=sys.stderr)
    is_bad = any(state in ("failed", "abandoned", "interrupted") for state in states.values())
    return NEEDS_ATTENTION if is_bad or quarantined or damaged else OK


def _release(arguments: argparse.Namespace) -> int:
    from edgeproof.farm import quarantine

    quarantine.release(arguments.device)
    show(f"device '{arguments.device}' is no longer in quarantine")
    return OK


def _check_night(run: str | None) -> bool:
    """Check a night and print the result; return True if nothing needs attention."""
    from edgeproof.farm import regression_check

    result = regression_check.check(run, show_line)
    for line in result.faster:
        show_line(f"faster: {line}")
    report_damaged(result.damaged)
    show_line(result.summary)
    return result.is_clean


def _job_state(event: JournalEvent, leased: set[str]) -> str:
    if event.kind == "started":
        return "running" if event.device in leased else "interrupted"
    return event.kind


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
