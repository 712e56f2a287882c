"""What a device says of itself, and what it lacks: with the command that installs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import NonNegativeInt, ValidationError

from edgeproof.config import cards
from edgeproof.config.cards import Card, Fingerprint
from edgeproof.core import plugins
from edgeproof.core.errors import DeviceError, Unsupported
from edgeproof.devices import runner_zipapp, vela
from edgeproof.devices.runner_result import Reported, Text
from edgeproof.paths import WORK

TIMEOUT_S = 120.0
OLDEST_PYTHON = (3, 11)
SHOWN_LINES = 3
LOADGEN = "mlcommons-loadgen"
INSTALLED_BY = {"valgrind": "apt-get install valgrind", "perf": "apt-get install linux-perf"}
LEAST_DISK_BYTES = 200_000_000
# Of these the registry has wheels of LoadGen.
LOADGEN_WHEELS = ("x86_64",)

Packages = Mapping[str, str]


class Description(Reported):
    """What the runner prints with --describe."""

    fingerprint: dict[str, Any]
    versions: dict[str, str | None]
    problems: dict[str, Text]
    tools: list[Text]
    energy: bool
    disk_free_bytes: NonNegativeInt
    memory_available_bytes: NonNegativeInt | None

    def told(self) -> Fingerprint:
        """The part of the fingerprint that a card may hold. Raises DeviceError where it is none."""
        known = {key: value for key, value in self.fingerprint.items() if key in Fingerprint.model_fields}
        try:
            return Fingerprint.model_validate(known)
        except ValidationError as error:
            raise _unlike(error) from None


@dataclass(frozen=True)
class Finding:
    """Something that a device lacks, and what to do about it."""

    problem: str
    cure: str


def described(device: Any, card: Card, runtime: str, packages: Packages) -> Description:
    """Ask a device what it is and what it has for a runtime. Raises DeviceError where it can't tell."""
    runner = runner_zipapp.pack(runtime, WORK / "runners")
    device.push(runner, runner.name)
    argv = [cards.python(card, runtime), "-B", runner.name, "--describe", runtime, card.energy_counter or ""]
    code, printed = device.run([*argv, *packages], TIMEOUT_S)
    if code != 0:
        raise DeviceError(f"the device did not describe itself (exit code {code}): {_last(printed)}")
    try:
        return Description.model_validate(json.loads(printed.splitlines()[-1]))
    except ValidationError as error:
        raise _unlike(error) from None
    except (ValueError, IndexError, RecursionError):
        raise DeviceError(f"what the device says of itself is not JSON: {_last(printed)}") from None


def _unlike(error: ValidationError) -> DeviceError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return DeviceError(f"what the device says of itself does not fit: {where}: {first['msg']}")


def examined(name: str, card: Card, needed: Mapping[str, Packages]) -> list[Finding]:
    """Everything a device lacks for its runtimes, whose packages and versions are `needed`. Raises nothing of its."""
    device = cards.transport(name, card)
    try:
        device.run(["true"], TIMEOUT_S)
    except DeviceError as error:
        reach = getattr(plugins.load("transports", card.transport), "TRY", None)
        cure = f"see why '{reach.format(host=card.host)}' fails" if reach else "see what the transport says"
        return [Finding(str(error), cure)]
    if card.npu is not None:
        return _npu(device, card)
    found = dict.fromkeys(
        finding for runtime, packages in needed.items() for finding in _runtime(device, name, card, runtime, packages)
    )
    return list(found)


def _npu(device: Any, card: Card) -> list[Finding]:
    try:
        vela.version(device, cards.python(card, "tflite"))
    except Unsupported as reason:
        return [Finding(str(reason).partition(";")[0], vela.INSTALL.format(python=cards.python(card, "tflite")))]
    return []


def _runtime(device: Any, name: str, card: Card, runtime: str, packages: Packages) -> list[Finding]:
    python = cards.python(card, runtime)
    if (finding := _python(device, python)) is not None:
        return [finding]
    try:
        told = described(device, card, runtime, packages)
        return [
            *_packages(told, runtime, python, packages),
            *_conditions(told, card),
            *(Finding(f"not the device of its card: {line}", f"'edgeproof devices probe {name}'")
              for line in cards.changed(card.fingerprint, told.told().model_dump())),
        ]  # fmt: skip
    except DeviceError as error:
        return [Finding(str(error), f"see what '{python}' says on the device")]


def _python(device: Any, python: str) -> Finding | None:
    least = ".".join(map(str, OLDEST_PYTHON))
    install = f"apt-get install python3 python3-venv (at least {least}), and name it as 'python' in the card"
    try:
        code, printed = device.run([python, "-c", f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"], 60)
    except DeviceError as error:
        return Finding(str(error), install)
    if code == 0:
        return None
    return Finding(f"'{python}' is no Python {least} or newer: {_last(printed) or f'exit code {code}'}", install)


def _packages(told: Description, runtime: str, python: str, packages: Packages) -> list[Finding]:
    """Packages that are missing, broken or of another version than the host's."""
    architecture = str(told.fingerprint.get("architecture"))
    found = []
    for package, version in packages.items():
        there = told.versions.get(package)
        if there is None:
            found.append(Finding(f"{package} is not installed", install(python, package, version, architecture)))
        elif there != version.split("+")[0]:
            problem = f"{package} is {there}, this study measures {version}"
            found.append(Finding(problem, install(python, package, version, architecture)))
    present = all(version is not None for version in told.versions.values())
    broken = {name: problem for name, problem in told.problems.items() if present}
    return found + [
        Finding(f"{name} fails: {problem}", f"run '{python}' and import it") for name, problem in broken.items()
    ]


def install(python: str, package: str, version: str, architecture: str) -> str:
    """The command that installs a package on a device; LoadGen is built from its source where there is no wheel."""
    pip = f"{python} -m pip install"
    version = version.split("+")[0]
    if package == LOADGEN and architecture not in LOADGEN_WHEELS:
        return f"apt-get install g++ python3-dev && {pip} --no-binary {package} {package}=={version}"
    return f"{pip} {package}=={version}"


def _conditions(told: Description, card: Card) -> list[Finding]:
    found = []
    architecture = told.fingerprint.get("architecture")
    if card.architecture is not None and architecture != card.architecture:
        found.append(Finding(f"its architecture is {architecture}, the card says {card.architecture}", "mend the card"))
    cores = told.fingerprint.get("affinity")
    lacking = [core for core in card.cores or [] if isinstance(cores, list) and core not in cores]
    if lacking:
        found.append(
            Finding(f"it has no processor {', '.join(map(str, lacking))}", "name others as 'cores' in the card")
        )
    if told.disk_free_bytes < LEAST_DISK_BYTES:
        found.append(Finding(f"only {told.disk_free_bytes / 1e6:.0f} MB of its disk are free", "free some space there"))
    tool = {"callgrind": "valgrind", "perf": "perf"}.get(card.instructions or "")
    if tool is not None and tool not in told.tools:
        found.append(Finding(f"{tool} is missing, which counts instructions", INSTALLED_BY[tool]))
    if card.energy_counter is not None and not told.energy:
        found.append(Finding(f"{card.energy_counter} tells no energy", "mend 'energy_counter', or its rights there"))
    return found


def _last(text: str) -> str:
    return " | ".join(text.splitlines()[-SHOWN_LINES:])
