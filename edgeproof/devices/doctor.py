"""List what a device lacks, each with the command that cures it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeproof.config.cards import Card
from edgeproof.connection.transport import DeviceTransport
from edgeproof.core import plugins
from edgeproof.core.errors import DeviceError, Unsupported
from edgeproof.devices import device, vela
from edgeproof.devices.description import TIMEOUT_S, Description, Packages, describe, shorten

MIN_PYTHON = (3, 11)
LOADGEN = "mlcommons-loadgen"
# For each method of counting instructions: the tool, and the command that installs it.
COUNTER_TOOLS = {
    "callgrind": ("valgrind", "apt-get install valgrind"),
    "perf": ("perf", "apt-get install linux-perf"),
}
MIN_FREE_DISK_BYTES = 200_000_000
# The architectures for which PyPI has wheels of LoadGen.
LOADGEN_WHEELS = ("x86_64",)


@dataclass(frozen=True)
class Diagnosis:
    """A problem of a device and its cure."""

    problem: str
    cure: str


def diagnose(name: str, card: Card, needed: Mapping[str, Packages]) -> list[Diagnosis]:
    """List everything that a device lacks. `needed` maps each runtime to its packages and versions.

    A device that cannot be reached is a diagnosis too, so DeviceError is never raised.
    """
    transport = device.open_transport(name, card)
    try:
        transport.run(["true"], TIMEOUT_S)
    except DeviceError as error:
        command = getattr(plugins.load("transports", card.transport), "TRY", None)
        cure = f"see why '{command.format(host=card.host)}' fails" if command else "see what the transport says"
        return [Diagnosis(str(error), cure)]
    if card.npu is not None:
        return _diagnose_npu(transport, card)
    diagnoses = [
        diagnosis
        for runtime, packages in needed.items()
        for diagnosis in _diagnose_runtime(transport, name, card, runtime, packages)
    ]
    return list(dict.fromkeys(diagnoses))


def install_command(python: str, package: str, version: str, architecture: str) -> str:
    """Return the command that installs a package on a device. LoadGen is built from source if it has no wheel."""
    pip = f"{python} -m pip install"
    version = version.split("+")[0]
    if package == LOADGEN and architecture not in LOADGEN_WHEELS:
        return f"apt-get install g++ python3-dev && {pip} --no-binary {package} {package}=={version}"
    return f"{pip} {package}=={version}"


def _diagnose_npu(transport: DeviceTransport, card: Card) -> list[Diagnosis]:
    python = device.choose_interpreter(card, vela.RUNTIME)
    try:
        vela.read_version(transport, python)
    except Unsupported as reason:
        return [Diagnosis(str(reason).partition(";")[0], vela.INSTALL_COMMAND.format(python=python))]
    return []


def _diagnose_runtime(
    transport: DeviceTransport, name: str, card: Card, runtime: str, packages: Packages
) -> list[Diagnosis]:
    python = device.choose_interpreter(card, runtime)
    if (diagnosis := _diagnose_python(transport, python)) is not None:
        return [diagnosis]
    try:
        description = describe(transport, card, runtime, packages)
        reported = description.to_card_fingerprint().model_dump()
    except DeviceError as error:
        return [Diagnosis(str(error), f"see what '{python}' says on the device")]
    changes = device.list_fingerprint_changes(card.fingerprint, reported)
    return [
        *_diagnose_packages(description, python, packages),
        *_diagnose_machine(description, card),
        *(Diagnosis(f"not the device of its card: {line}", f"'edgeproof devices probe {name}'") for line in changes),
    ]


def _diagnose_python(transport: DeviceTransport, python: str) -> Diagnosis | None:
    least = ".".join(map(str, MIN_PYTHON))
    cure = f"apt-get install python3 python3-venv (at least {least}), and name it as 'python' in the card"
    try:
        code, output = transport.run([python, "-c", f"import sys; sys.exit(sys.version_info < {MIN_PYTHON})"], 60)
    except DeviceError as error:
        return Diagnosis(str(error), cure)
    if code == 0:
        return None
    return Diagnosis(f"'{python}' is no Python {least} or newer: {shorten(output) or f'exit code {code}'}", cure)


def _diagnose_packages(description: Description, python: str, packages: Packages) -> list[Diagnosis]:
    """List packages that are missing, broken, or of another version than the host's."""
    architecture = str(description.fingerprint.get("architecture"))
    diagnoses = []
    for package, version in packages.items():
        cure = install_command(python, package, version, architecture)
        installed = description.versions.get(package)
        if installed is None:
            diagnoses.append(Diagnosis(f"{package} is not installed", cure))
        elif installed != version.split("+")[0]:
            diagnoses.append(Diagnosis(f"{package} is {installed}, this study measures {version}", cure))
    # A missing package explains why others fail, so import errors are listed only if none is missing.
    if all(version is not None for version in description.versions.values()):
        diagnoses += [
            Diagnosis(f"{name} fails: {problem}", f"run '{python}' and import it")
            for name, problem in description.problems.items()
        ]
    return diagnoses


def _diagnose_machine(description: Description, card: Card) -> list[Diagnosis]:
    diagnoses = []
    architecture = description.fingerprint.get("architecture")
    if card.architecture is not None and architecture != card.architecture:
        problem = f"its architecture is {architecture}, the card says {card.architecture}"
        diagnoses.append(Diagnosis(problem, "correct 'architecture' in the card"))
    affinity = description.fingerprint.get("affinity")
    lacking = [core for core in card.cores or [] if isinstance(affinity, list) and core not in affinity]
    if lacking:
        problem = f"it has no processor {', '.join(map(str, lacking))}"
        diagnoses.append(Diagnosis(problem, "name others as 'cores' in the card"))
    if description.disk_free_bytes < MIN_FREE_DISK_BYTES:
        problem = f"only {description.disk_free_bytes / 1e6:.0f} MB of its disk are free"
        diagnoses.append(Diagnosis(problem, "free some space there"))
    if card.instructions is not None:
        tool, install = COUNTER_TOOLS[card.instructions]
        if tool not in description.tools:
            diagnoses.append(Diagnosis(f"{tool}, which counts instructions, is not installed", install))
    if card.energy_counter is not None and not description.energy:
        problem = f"{card.energy_counter} does not hold a number of microjoules"
        diagnoses.append(Diagnosis(problem, "correct 'energy_counter' in the card, or the file's permissions"))
    return diagnoses
