"""python -m edgeproof.board up | down | status: start the emulated board, stop it, or show its state.

`up` builds the missing parts, starts the board, and writes devices/board.yaml. Finished steps are not repeated.
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
from edgeproof.config import cards, runtime_extras
from edgeproof.core import plugins
from edgeproof.core.errors import ConfigError
from edgeproof.devices import registration

MIN_DISK_BYTES = 4 * 10**9
MIN_MEMORY_MIB = 256
MAX_MEMORY_MIB = 255 * 1024
MIN_PORT = 1024
MAX_PORT = 65535
# An emulator needs about a hundred times as long as a real board.
TIMEOUT_S = 7200


def main(argv: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m edgeproof.board", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    up = verbs.add_parser("up", help="build, start and register the board")
    up.add_argument(
        "--memory-mib", type=int, default=machine.MEMORY_MIB, help="memory of the board (default: %(default)s)"
    )
    up.add_argument(
        "--port", type=int, default=machine.PORT, help="port on this machine for ssh (default: %(default)s)"
    )
    up.add_argument("--sources", type=Path, help="a sources.list of Debian 12, if this machine has another system")
    up.add_argument(
        "--runtimes", nargs="+", default=[], help="runtimes that are extras, to install on the board too: mnn ncnn"
    )
    up.add_argument(
        "--allow-cuda", action="store_true", help="install packages of CUDA where a runtime has no other build"
    )
    up.set_defaults(function=_up)
    verbs.add_parser("down", help="stop the board").set_defaults(function=_down)
    verbs.add_parser("status", help="show whether the board runs").set_defaults(function=_status)
    arguments = parser.parse_args(argv)
    code: int = arguments.function(arguments)
    return code


def _up(arguments: argparse.Namespace) -> int:
    _check_arguments(arguments.memory_mib, arguments.port, arguments.sources, arguments.runtimes)
    _check_disk()
    started_s = time.monotonic()
    tools = debian.fetch_tools(arguments.sources)
    system = debian.fetch_system(arguments.sources)
    site = python.build_site(system, tools, arguments.runtimes, allow_cuda=arguments.allow_cuda)
    disk = build_disk(system, site, tools)
    print("  starting the board", file=sys.stderr)
    machine.start(machine.MachineConfig(arguments.memory_mib, arguments.port), disk, tools)
    _register()
    duration_s = time.monotonic() - started_s
    print(f"'{machine.DEVICE}' runs with {arguments.memory_mib} MiB. It took {duration_s:.0f} s.")
    print(f"Measure on it: edgeproof repro digits bench.devices=[{machine.DEVICE}]. Stop it: make board-down")
    return 0


def _check_arguments(memory_mib: int, port: int, sources: Path | None, runtimes: Sequence[str]) -> None:
    if not MIN_MEMORY_MIB <= memory_mib <= MAX_MEMORY_MIB:
        raise ConfigError(f"--memory-mib must be {MIN_MEMORY_MIB} to {MAX_MEMORY_MIB} (given: {memory_mib}).")
    if not MIN_PORT <= port <= MAX_PORT:
        raise ConfigError(f"--port must be {MIN_PORT} to {MAX_PORT} (given: {port}).")
    if sources is not None and not sources.is_file():
        raise ConfigError(f"{sources} does not exist. Name a file with apt's sources.")
    extras = [name for name in plugins.list_names("runtimes") if runtime_extras.find_extra(name) is not None]
    if unknown := set(runtimes).difference(extras):
        raise ConfigError(
            f"--runtimes: {', '.join(sorted(unknown))} is no runtime that is an extra: {', '.join(extras)}."
        )
    if machine.DEVICE in cards.list_names() and cards.read(machine.DEVICE).host != machine.SSH_ALIAS:
        raise ConfigError(f"devices/{machine.DEVICE}.yaml is the card of another device. Rename that card.")


def _check_disk() -> None:
    BOARD.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(BOARD).free
    if free_bytes < MIN_DISK_BYTES and not (BOARD / "disk").is_dir():
        raise ConfigError(
            f"the board needs {MIN_DISK_BYTES / 1e9:.0f} GB below {BOARD}, but only {free_bytes / 1e9:.1f} GB are free."
        )


def _register() -> None:
    """Write the board's card, or update the fingerprint of the existing card."""
    card = {
        "transport": "ssh",
        "host": machine.SSH_ALIAS,
        "emulated": True,
        "threads": 1,
        "tags": ["emulated"],
        "timeout_s": TIMEOUT_S,
    }
    if machine.DEVICE in cards.list_names():
        registration.update_fingerprint(machine.DEVICE)
    else:
        registration.register(machine.DEVICE, card)


def _down(arguments: argparse.Namespace) -> int:
    print("the board is stopped" if machine.stop() else "the board did not run")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    config = machine.find_running()
    if config is None:
        print("the board does not run. Start it with 'make board'.")
        return 1
    print(f"the board runs with {config.memory_mib} MiB on port {config.port}.")
    print(f"Log in with: ssh -F {machine.SSH_CONFIG} {machine.SSH_ALIAS}")
    return 0


if __name__ == "__main__":
    entry.run(lambda: main(sys.argv[1:]))
