"""Ask a device to describe itself: its fingerprint, the versions of packages, and the errors of broken ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import NonNegativeInt, ValidationError

from edgeproof.config.cards import Card, Fingerprint
from edgeproof.connection.transport import DeviceTransport
from edgeproof.core.errors import DeviceError
from edgeproof.devices import device, runner_zipapp
from edgeproof.devices.runner_result import DeviceReport, ReportText
from edgeproof.paths import WORK

TIMEOUT_S = 120.0
SHOWN_LINES = 3

Packages = Mapping[str, str]


class Description(DeviceReport):
    """The output of the runner's --describe."""

    fingerprint: dict[str, Any]
    versions: dict[str, str | None]
    problems: dict[str, ReportText]
    tools: list[ReportText]
    energy: bool
    disk_free_bytes: NonNegativeInt
    memory_available_bytes: NonNegativeInt | None

    def to_card_fingerprint(self) -> Fingerprint:
        """Return the part of the fingerprint that a card may hold. Raises DeviceError for invalid values."""
        known = {key: value for key, value in self.fingerprint.items() if key in Fingerprint.model_fields}
        try:
            return Fingerprint.model_validate(known)
        except ValidationError as error:
            raise _build_error(error) from None


def describe(transport: DeviceTransport, card: Card, runtime: str, packages: Packages) -> Description:
    """Run the runner of a runtime on a device to describe the device. Raises DeviceError without a valid answer."""
    runner = runner_zipapp.pack(runtime, WORK / "runners")
    transport.push(runner, runner.name)
    python = device.choose_interpreter(card, runtime)
    argv = [python, "-B", runner.name, "--describe", runtime, card.energy_counter or "", *packages]
    code, output = transport.run(argv, TIMEOUT_S)
    if code != 0:
        raise DeviceError(f"the device did not describe itself (exit code {code}): {shorten(output)}")
    try:
        return Description.model_validate(json.loads(output.splitlines()[-1]))
    except ValidationError as error:
        raise _build_error(error) from None
    except (ValueError, IndexError, RecursionError):
        raise DeviceError(f"the device's description is not JSON: {shorten(output)}") from None


def shorten(text: str) -> str:
    """Return the last lines of a command's output in one line."""
    return " | ".join(text.splitlines()[-SHOWN_LINES:])


def _build_error(error: ValidationError) -> DeviceError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return DeviceError(f"the device's description is invalid: {where}: {first['msg']}")
