"""Requests to the deployment program on a device, which is pushed there by its hash."""

from __future__ import annotations

import datetime
import json
import os
import secrets
import socket
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeproof.config.cards import Card
from edgeproof.connection.transport import DeviceTransport
from edgeproof.core.errors import DeviceError
from edgeproof.deployed.trial import TrialSettings
from edgeproof.deployment.answers import DeployedVersion, DeviceAnswer, parse_answer
from edgeproof.deployment.package import Package
from edgeproof.devices import imports, runner_zipapp
from edgeproof.devices.device import choose_interpreter

ENTRY = "edgeproof.deployed.deployer"
PROGRAMS = "store"
INCOMING = "deployment/incoming"
MEASURE_S = 2.0
LOCK_WAIT_S = 20.0
# Time of a request beyond the programs that it starts: files are hashed and written to the disk.
OVERHEAD_S = 120.0
# A request starts a check and a measurement.
PROGRAMS_PER_REQUEST = 2
COMMAND_FAILED = (126, 127)


def pack_program(directory: Path) -> Path:
    """Write the deployment program into a directory and return its path. Its name holds the sha256 of its files."""
    return runner_zipapp.write_program("deployer", imports.read_program(ENTRY, {}), directory)


class DeviceProgram:
    """The deployment program on one device.

    Every request raises DeviceError when it fails, DeviceUnreachableError when the link is lost, and DeviceRefusedError
    when only a person can open the link.
    """

    def __init__(self, name: str, card: Card, transport: DeviceTransport, program: Path) -> None:
        self._name, self._card, self._transport, self._program = name, card, transport, program
        self._is_pushed = False

    def read_status(self) -> DeviceAnswer:
        """Ask which versions are on the device. The files of the current one are verified there."""
        return self._request("status", None, OVERHEAD_S)

    def send(self, package: Package) -> None:
        """Copy a bundle to the device, beside the versions that are there."""
        self._transport.push(package.directory, f"{INCOMING}/{package.sha256}")

    def send_again(self, package: Package) -> None:
        """Copy a bundle that is not on the device any more."""
        self._transport.remove(f"{INCOMING}/{package.sha256}")  # the transport does not repeat a push by itself
        self.send(package)

    def activate(self, package: Package, settings: TrialSettings) -> DeviceAnswer:
        """Verify and try a bundle on the device, and switch over if nothing is wrong with it."""
        fields = {"sha256": package.sha256, "label": package.label, "signer": package.signer}
        return self._change("activate", package.runtime, settings, **fields)

    def roll_back(self, current: DeployedVersion, previous: DeployedVersion, settings: TrialSettings) -> DeviceAnswer:
        """Go back from the current version to the one before."""
        return self._change("rollback", previous.runtime, settings, expected=current.sha256)

    def inspect(self, current: DeployedVersion, settings: TrialSettings) -> DeviceAnswer:
        """Verify, check and measure the version that runs."""
        return self._change("inspect", current.runtime, settings)

    def _change(self, verb: str, runtime: str | None, settings: TrialSettings, **fields: str) -> DeviceAnswer:
        timeout_s = OVERHEAD_S + LOCK_WAIT_S + PROGRAMS_PER_REQUEST * settings.timeout_s
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        holder = f"process {os.getpid()} on {socket.gethostname()} since {at}"
        extra = {"trial": asdict(settings), "holder": holder, "lock_wait_s": LOCK_WAIT_S, "at": at}
        return self._request(verb, runtime, timeout_s, **extra, **fields)

    def _request(self, verb: str, runtime: str | None, timeout_s: float, **fields: Any) -> DeviceAnswer:
        """Send a request to the interpreter of a runtime, which also runs the bundle's programs."""
        place = f"{PROGRAMS}/{self._program.name}"
        if not self._is_pushed:
            self._transport.push(self._program, place)
            self._is_pushed = True
        nonce = secrets.token_hex(16)
        request = json.dumps({"verb": verb, "nonce": nonce, **fields})
        interpreter = choose_interpreter(self._card, runtime or "")
        code, output = self._transport.run([interpreter, "-I", place, request], timeout_s)
        if code in COMMAND_FAILED:
            raise DeviceError(
                f"{interpreter} can't be run on '{self._name}'. 'edgeproof devices doctor {self._name}' shows "
                "what is missing"
            )
        return parse_answer(output, nonce)
