"""python -m edgeproof.board up | down | status: build and start the emulated board, end it, say what it is.

`up` builds what is missing, starts the board, and writes devices/board.yaml; what was finished is not done again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgeproof import entry
from edgeproof.board import debian, machine, python
from edgeproof.board.disk import build_disk
from edgeproof.board.steps import BOARD
from edgeproof.config import cards
from edgeproof.core.errors import ConfigError
from edgeproof.devices import registration

MIN_DISK_BYTES = 4 * 10**9
MIN_MEMORY_MIB = 256
MAX_MEMORY_MIB = 255 * 1024
# An emulated second is a hundredth of a real one.
TIMEOUT_S = 7200


def main(argv: Sequence[str]) -> int:
    """Parse and dispatch; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m edgeproof.board", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    up = verbs.add_parser("up", help="build, start and register the board")
    up.add_argument("--memory-mib", type=int, default=machine.MEMORY_MIB, help="its memory (default: %(default)s)")
    up.add_argument("--port", type=int, default=machine.PORT, help="of loopback, for ssh (default: %(default)s)")
    up.add_argument("--sources", type=Path, help="a sources.list of Debian 12, where this machine's has none")
    up.set_defaults(function=_up)
    verbs.add_parser("down", help="end the board").set_defaults(function=_down)
    verbs.add_parser("status", help="say whether it runs").set_defaults(function=_status)
    arguments = parser.parse_args(argv)
    code: int = arguments.function(arguments)
    return code


def _up(arguments: argparse.Namespace) -> int:
    if not MIN_MEMORY_MIB <= arguments.memory_mib <= MAX_MEMORY_MIB:
        raise ConfigError(
            f"the board's memory is {MIN_MEMORY_MIB} to {MAX_MEMORY_MIB} MiB, not {arguments.memory_mib}."
        )
    if not 1024 <= arguments.port < 2**16:
        raise ConfigError(f"the board's port is 1024 to 65535, not {arguments.port}.")
    if arguments.sources is not None and not arguments.sources.is_file():
        raise ConfigError(f"{arguments.sources} is no file with apt's sources.")
    if machine.DEVICE in cards.names() and cards.read(machine.DEVICE).host != machine.SSH_ALIAS:
        raise ConfigError(f"devices/{machine.DEVICE}.yaml is the card of another device. Give it another name.")
    BOARD.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(BOARD).free
    if free < MIN_DISK_BYTES and not (BOARD / "disk").is_dir():
        raise ConfigError(
            f"the board needs {MIN_DISK_BYTES / 1e9:.0f} GB below {BOARD}, {free / 1e9:.1f} GB are free."
        )
    began = time.monotonic()
    tools = debian.fetch_tools(arguments.sources)
    system = debian.fetch_system(arguments.sources)
    built = build_disk(system, python.build_site(system, tools), tools)
    print("  starting the board", file=sys.stderr)
    machine.start(machine.MachineConfig(arguments.memory_mib, arguments.port), built, tools)
    _register()
    took_s = time.monotonic() - began
    print(f"'{machine.DEVICE}' runs with {arguments.memory_mib} MiB, {took_s:.0f} s after it was asked for.")
    print(f"Measure on it: edgeproof repro digits bench.devices=[{machine.DEVICE}]. End it: make board-down")
    return 0


def _register() -> None:
    """Write the board's card, or bring the fingerprint of the one that is there up to date."""
    asked = {
        "transport": "ssh",
        "host": machine.SSH_ALIAS,
        "emulated": True,
        "threads": 1,
        "tags": ["emulated"],
        "timeout_s": TIMEOUT_S,
    }
    if machine.DEVICE in cards.names():
        registration.update_fingerprint(machine.DEVICE)
    else:
        registration.register(machine.DEVICE, asked)


def _down(arguments: argparse.Namespace) -> int:
    print("the board is off" if machine.stop() else "the board did not run")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    told = machine.find_running()
    if told is None:
        print("the board does not run; 'make board' starts it")
        return 1
    print(f"the board runs with {told.memory_mib} MiB on port {told.port}: ssh -F {machine.SSH_CONFIG} {machine.SSH_ALIAS}")
    return 0


if __name__ == "__main__":
    entry.run(lambda: main(sys.argv[1:]))
