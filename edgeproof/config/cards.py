"""The registry of devices: one card a device in devices/, validated before anything runs.

A card says how a device is reached and what it may use. Addresses, users and keys stay in the configuration of the
program that reaches it (~/.ssh/config); a card holds no secret.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, StringConstraints, model_validator

from edgeproof.config.validation import Frozen, Id, validate
from edgeproof.core import plugins
from edgeproof.core.errors import ConfigError, UnknownNameError

CARDS = Path("devices")

# What a program takes as a name, and never as an option or as two words.
Alias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$", max_length=255)]
Command = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20\x7f-][^\x00-\x1f\x7f]*$", max_length=1000)]
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
    """What an artifact may take at most. A MB is a million bytes."""

    size_mb: float | None = Field(default=None, gt=0, description="of the artifact's files")
    latency_ms: float | None = Field(default=None, gt=0, description="at the 90th percentile, one stream")
    memory_mb: float | None = Field(default=None, gt=0, description="the process's peak")
    energy_mj: float | None = Field(default=None, gt=0, description="millijoules of one inference")


class Fingerprint(Frozen):
    """What a device says of itself that must not change unnoticed; what is left out is not compared."""

    architecture: str | None = None
    cpu: str | None = None
    microcode: str | None = None
    cores: int | None = None
    memory_bytes: int | None = None
    kernel: str | None = None
    libc: str | None = None
    governor: str | None = None
    turbo: str | None = None
    smt: str | None = None
    virtualization: str | None = None
    python: str | None = None


class Card(Frozen):
    """What devices/<name>.yaml may say."""

    transport: Id
    host: Alias | None = Field(default=None, description="what the transport calls the device")
    architecture: Id | None = Field(default=None, description="such as x86_64 or aarch64")
    threads: int = Field(ge=1, le=256, description="threads a runtime may use")
    cores: list[int] | None = Field(default=None, min_length=1, description="processors that the runner is kept on")
    memory_mb: int | None = Field(
        default=None, ge=64, description="memory that the runner may take; a MB is 10^6 bytes"
    )
    python: Command | None = Field(default=None, description="interpreter on the device; the transport's when left out")
    runtimes: dict[Id, Command | None] | None = Field(
        default=None,
        description="runtimes that are there, each with an interpreter of its own or null; all if left out",
    )
    npu: Npu | None = Field(default=None, description="not measured: the compiler estimates this accelerator's cycles")
    emulated: bool = Field(default=False, description="an emulator: its answers are measured, its times are not")
    fingerprint: Fingerprint | None = Field(default=None, description="what the device must say of itself")
    budget: Budget | None = Field(default=None, description="what an artifact may take here")
    cool_down_s: float = Field(default=0, ge=0, le=3600, description="least pause before each run")
    tags: list[Id] = []
    timeout_s: int = Field(default=600, ge=1, description="longest that one job may take beyond its least duration")
    instructions: CountMethod | None = Field(
        default=None, description="how a final artifact's instructions are counted"
    )
    energy_counter: Command | None = Field(
        default=None, description="file that counts microjoules; RAPL's when left out"
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        cores = self.cores or []
        if any(core < 0 for core in cores) or len(set(cores)) < len(cores):
            raise ValueError("cores are numbers from 0, each named once")
        if cores and self.threads > len(cores):
            raise ValueError(f"{self.threads} threads don't fit on {len(cores)} of its cores")
        if self.npu is not None and self.instructions is not None:
            raise ValueError("what is estimated retires no instructions: leave out npu or instructions")
        if self.emulated and self.npu is not None:
            raise ValueError("what is estimated runs nowhere: leave out npu or emulated")
        if self.emulated and self.transport == "local":
            raise ValueError("this machine is no emulator: leave out emulated, or name another transport")
        return self


def names(cards: Path = CARDS) -> list[str]:
    """The registered devices."""
    return sorted(path.stem for path in cards.glob("*.yaml"))


def read(name: str, cards: Path = CARDS) -> Card:
    """Read one device's card. Raises UnknownNameError or ConfigError."""
    path = cards / f"{name}.yaml"
    if name not in names(cards):
        raise UnknownNameError("device", name, names(cards), f"To add one: 'edgeproof devices add', or write {path}.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    found = validate(Card, content, str(path))
    check(found, str(path))
    return found


def check(found: Card, where: str) -> None:
    """Whether a card's names exist and its transport gets what it needs. Raises ConfigError naming `where`."""
    for kind, given in (("transports", [found.transport]), ("runtimes", found.runtimes or {})):
        for name in given:
            if name not in plugins.list_names(kind):
                raise plugins.build_unknown_name_error(kind, name)
    wanted = getattr(plugins.load("transports", found.transport), "HOST", None)
    if wanted is not None and found.host is None:
        raise ConfigError(f"{where}: transport '{found.transport}' needs 'host', {wanted}.")
    if wanted is None and found.host is not None:
        raise ConfigError(f"{where}: transport '{found.transport}' takes no 'host' (given: '{found.host}').")








