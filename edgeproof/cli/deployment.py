"""edgeproof deploy | rollback | deployed: bring versions to devices, go back, and show what runs where."""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof.cli.options import add_records_option, split_names
from edgeproof.cli.output import format_columns, show, show_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeproof.deployment.device_deployment import DeviceTarget
    from edgeproof.deployment.rollout import Rollout
    from edgeproof.farm.device_choice import DeviceChoice

OK, NEEDS_ATTENTION = 0, 1
MAX_PARALLEL = 64
DEFAULT_PARALLEL = 8
COLUMNS = ("device", "version", "manifest", "since", "before", "state")


def add_commands(commands: Any) -> None:
    """Add the commands about deployments to the command line's parser."""
    deploy = commands.add_parser(
        "deploy", help="bring a version to devices; run it again to continue after a crash or a failure"
    )
    deploy.add_argument("version", help="a registered version, such as student-onnx-fp32@v1.0.0")
    deploy.add_argument("--devices", type=split_names, required=True, metavar="A,tag:B", help="names or tags")
    deploy.add_argument(
        "--bundle",
        type=Path,
        metavar="DIR",
        help="the version's signed bundle (default: one is written and signed with your key)",
    )
    deploy.add_argument("--signer", help="fingerprint of the key that must have signed it (default: allowed_signers)")
    deploy.add_argument(
        "--without-budget", action="store_true", help="accept cards without limits; only the self-check decides"
    )
    _add_waves(deploy)
    add_records_option(deploy)
    deploy.set_defaults(function=_deploy)

    rollback = commands.add_parser("rollback", help="take devices back to the version before")
    rollback.add_argument("--devices", type=split_names, required=True, metavar="A,tag:B", help="names or tags")
    _add_waves(rollback)
    rollback.set_defaults(function=_rollback)

    deployed = commands.add_parser("deployed", help="show which version runs on each device, verified there now")
    deployed.add_argument(
        "--devices", type=split_names, metavar="A,tag:B", help="names or tags (default: all that were deployed to)"
    )
    _add_parallel(deployed)
    deployed.set_defaults(function=_show_deployed)


def _add_waves(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wave", metavar="N|P%", help="devices in a wave, as a number or a share; a failure stops (default: all)"
    )
    _add_parallel(parser)


def _add_parallel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--parallel", type=_parse_count, default=DEFAULT_PARALLEL, help="devices at once (default: %(default)s)"
    )


def _deploy(arguments: argparse.Namespace) -> int:
    from edgeproof.deployment import device_deployment, limits, package, rollout

    targets, choice = _choose_targets(arguments)
    for target in targets.values():
        limits.check_card(target.name, target.card, without_budget=arguments.without_budget)
    chosen = package.prepare_package(
        arguments.version, directory=arguments.bundle, signer=arguments.signer, records=arguments.records
    )
    show_line(f"{chosen.label}: {chosen.directory}, signed by {chosen.signer}")
    plan = _plan(
        arguments,
        f"{chosen.label} {chosen.sha256}",
        targets,
        change=lambda name: device_deployment.deploy(targets[name], chosen),
        is_current=functools.partial(rollout.runs_as_expected, sha256=chosen.sha256),
    )
    words = [option for name in ("bundle", "signer") for option in _format_option(arguments, name)]
    words += ["--without-budget"] * arguments.without_budget
    return _finish(plan, choice, ["deploy", arguments.version, *_format_selection(arguments), *words])


def _rollback(arguments: argparse.Namespace) -> int:
    from edgeproof.deployment import device_deployment, rollout

    targets, choice = _choose_targets(arguments)
    plan = _plan(
        arguments,
        "rollback",
        targets,
        change=lambda name: device_deployment.roll_back(targets[name]),
        is_current=rollout.is_rolled_back,
    )
    return _finish(plan, choice, ["rollback", *_format_selection(arguments)])


def _show_deployed(arguments: argparse.Namespace) -> int:
    from edgeproof.deployment import overview

    without_card: list[str] = []
    if arguments.devices is None:
        arguments.devices, without_card = _list_deployed_devices()
    for name in without_card:
        cure = f"If the device is gone, remove results/deployments/{name}.json."
        show(f"skipped device '{name}': it has no card. {cure}", file=sys.stderr)
    targets, choice = _choose_targets(arguments)
    rows = overview.read_rows(list(targets.values()), arguments.parallel)
    lines = [COLUMNS, *((r.device, r.version, r.sha256, r.since, r.previous, r.state) for r in rows)]
    for line in format_columns(lines):
        show_line(line)
    is_complete = not choice.errors and not without_card
    return OK if is_complete and not any(row.problems for row in rows) else NEEDS_ATTENTION


def _list_deployed_devices() -> tuple[list[str], list[str]]:
    """Return the devices that something was deployed to: those with a card, and those without."""
    from edgeproof.config import cards
    from edgeproof.core.errors import ConfigError
    from edgeproof.deployment import expected_versions

    deployed, known = expected_versions.list_devices(), cards.list_names()
    if not deployed:
        raise ConfigError("nothing was deployed yet. Deploy with 'edgeproof deploy VERSION --devices NAME'.")
    return [name for name in deployed if name in known], [name for name in deployed if name not in known]


def _choose_targets(arguments: argparse.Namespace) -> tuple[dict[str, DeviceTarget], DeviceChoice]:
    """Return the chosen devices by name. A device whose card is wrong is named and left out."""
    from edgeproof.deployment import device_deployment
    from edgeproof.farm import device_choice

    choice = device_choice.choose_devices(None, arguments.devices)
    for device, error in choice.errors.items():
        show(f"skipped device '{device}': {' '.join(str(error).split())}", file=sys.stderr)
    return {target.name: target for target in device_deployment.list_targets(choice.devices or [])}, choice


def _plan(arguments: argparse.Namespace, title: str, targets: dict[str, DeviceTarget], **functions: Any) -> Rollout:
    from edgeproof.deployment import waves
    from edgeproof.deployment.rollout import Rollout

    return Rollout(
        title=title,
        devices=list(targets),
        wave_size=waves.count_devices(arguments.wave, len(targets)),
        parallel=arguments.parallel,
        report=show_line,
        **functions,
    )


def _finish(plan: Rollout, choice: DeviceChoice, command: Sequence[str]) -> int:
    """Run a roll-out, print its result and, after a failure, the next commands. `command` continues it."""
    outcomes = plan.run()
    by_outcome = {
        outcome: [name for name, other in outcomes.items() if other == outcome]
        for outcome in ("done", "failed", "not started")
    }
    show_line(", ".join(f"{len(names)} {outcome}" for outcome, names in by_outcome.items()))
    if not by_outcome["failed"] and not choice.errors:
        return OK
    show_line(f"After the repair, continue: {shlex.join(['edgeproof', *command])}")
    if command[0] == "deploy" and by_outcome["done"]:
        show_line(f"To take the others back: edgeproof rollback --devices {','.join(by_outcome['done'])}")
    return NEEDS_ATTENTION


def _format_selection(arguments: argparse.Namespace) -> list[str]:
    """Return the options that choose the devices and the waves."""
    parallel = [] if arguments.parallel == DEFAULT_PARALLEL else _format_option(arguments, "parallel")
    return ["--devices", ",".join(arguments.devices), *_format_option(arguments, "wave"), *parallel]


def _format_option(arguments: argparse.Namespace, name: str) -> list[str]:
    value = getattr(arguments, name)
    return [] if value is None else [f"--{name}", str(value)]


def _parse_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_PARALLEL:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MAX_PARALLEL}, got '{text}'")
    return int(text)
