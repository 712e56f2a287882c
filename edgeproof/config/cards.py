"""Device cards: one YAML file for each device in devices/, checked before anything runs.

A card says how to reach a device and what a runtime may use there. It holds no secret: addresses, users and keys stay
in the configuration of the program that connects to it (~/.ssh/config).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from edgeproof.config.file_names import check_file_name
from edgeproof.config.validation import Frozen, Id, validate
from edgeproof.config.yaml_file import read_yaml
from edgeproof.core import plugins
from edgeproof.core.errors import ConfigError, EdgeproofError, UnknownNameError

CARDS = Path("devices")
# The most processors that Linux can be built for.
MAX_CORES = 8192
_NAME = re.compile(r"[a-z0-9_]+")

# Both end up on a command line. The patterns exclude what a program would read as an option or as two words.
Alias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$", max_length=255)]
Command = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20\x7f-][^\x00-\x1f\x7f]*$", max_length=1000)]
Title = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?$", max_length=60)
]
CountMethod = Literal["callgrind", "perf"]
Npu = Literal[
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
]


class Budget(Frozen):
    """Limits of an artifact on a device: upper ones, and the least share of placed operators.

    1 MB is 10^6 bytes, 1 KiB is 1024 bytes. The limits in KiB are those of a microcontroller, whose memories have such
    sizes.
    """

    size_mb: float | None = Field(default=None, gt=0, le=1e6, description="size of the artifact's files")
    latency_ms: float | None = Field(
        default=None, gt=0, le=1e6, description="90th percentile of the latency in SingleStream"
    )
    memory_mb: float | None = Field(default=None, gt=0, le=1e8, description="peak memory of the process")
    flash_kib: float | None = Field(default=None, gt=0, le=1e8, description="flash for the artifact's files")
    ram_kib: float | None = Field(default=None, gt=0, le=1e8, description="RAM for the arena of one inference")
    energy_mj: float | None = Field(default=None, gt=0, le=1e9, description="energy of one inference, in millijoules")
    min_placement: float | None = Field(
        default=None, gt=0, le=1, description="least share of the operators that run on the expected unit"
    )


class Fingerprint(Frozen):
    """Properties that a device reports and that must not change unnoticed. A missing property is not compared."""

    architecture: str | None = None
    cpu: str | None = None
    microcode: str | None = None
    cores: int | None = Field(default=None, ge=1, le=MAX_CORES)
    memory_bytes: int | None = Field(default=None, ge=0)
    kernel: str | None = None
    libc: str | None = None
    governor: str | None = None
    turbo: str | None = None
    smt: str | None = None
    virtualization: str | None = None
    python: str | None = None


class Card(Frozen):
    """Content of devices/<name>.yaml."""

    transport: Id
    title: Title | None = Field(default=None, description="name for readers of the site; default: the card's name")
    host: Alias | None = Field(default=None, description="the transport's name of the device")
    architecture: Id | None = Field(default=None, description="processor architecture, such as x86_64 or aarch64")
    threads: int = Field(ge=1, le=256, description="number of threads that a runtime may use")
    cores: list[int] | None = Field(default=None, min_length=1, description="processors that the runner is pinned to")
    memory_mb: int | None = Field(
        default=None, ge=64, le=100_000_000, description="memory limit of the runner; 1 MB is 10^6 bytes"
    )
    python: Command | None = Field(default=None, description="Python on the device; default: the transport's")
    runtimes: dict[Id, Command | None] | None = Field(
        default=None,
        description="runtimes on the device, each with its own Python or null; default: all runtimes",
    )
    npu: Npu | None = Field(
        default=None, description="accelerator whose cycles its compiler estimates; nothing is measured"
    )
    emulated: bool = Field(default=False, description="an emulator: accuracy is measured, latency is not")
    fingerprint: Fingerprint | None = Field(default=None, description="properties that the device must report")
    budget: Budget | None = Field(default=None, description="limits of an artifact on this device")
    cool_down_s: float = Field(default=0, ge=0, le=3600, description="minimum pause before each run")
    tags: list[Id] = []
    timeout_s: int = Field(
        default=600, ge=1, le=604_800, description="time limit of a job, in addition to its minimum duration"
    )
    instructions: CountMethod | None = Field(
        default=None, description="tool that counts the instructions of final artifacts"
    )
    energy_counter: Command | None = Field(
        default=None, description="file that counts microjoules; default: RAPL's file"
    )

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        cores = self.cores or []
        if any(not 0 <= core < MAX_CORES for core in cores) or len(set(cores)) < len(cores):
            raise ValueError(f"'cores' are numbers from 0 to {MAX_CORES - 1} without repetition")
        if cores and self.threads > len(cores):
            raise ValueError(f"{self.threads} threads need {self.threads} cores, but 'cores' lists {len(cores)}")
        if self.npu is not None and self.instructions is not None:
            raise ValueError(
                "'npu' and 'instructions' are mutually exclusive: nothing runs on an estimated accelerator"
            )
        if self.emulated and self.npu is not None:
            raise ValueError("'npu' and 'emulated' are mutually exclusive: nothing runs on an estimated accelerator")
        if self.emulated and self.transport == "local":
            raise ValueError("'emulated' needs another transport than 'local', which is this machine")
        return self


def list_names(cards: Path = CARDS) -> list[str]:
    """Return the names of all devices that have a card. Hidden files, which editors leave behind, are no cards."""
    return sorted(path.stem for path in cards.glob("*.yaml") if not path.name.startswith("."))


def check_name(name: str) -> None:
    """Raise ConfigError unless a device may have this name in a study and as a file name."""
    check_file_name("device", name)
    if not _NAME.fullmatch(name):
        raise ConfigError(f"'{name}' is not a valid name of a device. Use small letters, digits and '_'.")


def read(name: str, cards: Path = CARDS) -> Card:
    """Read and check the card of a device.

    Raises UnknownNameError when it has no card, ConfigError when the card is wrong.
    """
    check_file_name("device", name)
    path = cards / f"{name}.yaml"
    if name not in list_names(cards):
        raise UnknownNameError(
            "device", name, list_names(cards), f"To add one: 'edgeproof devices add', or write {path}."
        )
    check_name(name)
    card = validate(Card, read_yaml(path), str(path))
    check(card, str(path))
    return card


def read_all(cards: Path = CARDS) -> tuple[dict[str, Card], dict[str, EdgeproofError]]:
    """Read all cards. Return the good ones and the errors of the others, both by the name of the device."""
    readable: dict[str, Card] = {}
    errors: dict[str, EdgeproofError] = {}
    for name in list_names(cards):
        try:
            readable[name] = read(name, cards)
        except EdgeproofError as error:
            errors[name] = error
    return readable, errors


def check(card: Card, where: str) -> None:
    """Check that the card's transport and runtimes exist, and that it has a host if the transport needs one.

    Raises UnknownNameError, or ConfigError with `where`, the name of the file, in its message.
    """
    for kind, mentions in (("transports", [card.transport]), ("runtimes", card.runtimes or {})):
        for name in mentions:
            if name not in plugins.list_names(kind):
                raise plugins.build_unknown_name_error(kind, name)
    # The transport's HOST says what its host is; a transport without HOST takes no host.
    host_description = getattr(plugins.load("transports", card.transport), "HOST", None)
    if host_description is not None and card.host is None:
        raise ConfigError(f"{where}: transport '{card.transport}' needs 'host', {host_description}.")
    if host_description is None and card.host is not None:
        raise ConfigError(f"{where}: transport '{card.transport}' takes no 'host' (given: '{card.host}').")
