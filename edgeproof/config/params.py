"""The shape of params.yaml: what every stage reads, exactly as DVC hashed it, through one loader.

One frozen model forbids unknown keys and checks types and ranges; every error names the key and what is allowed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, NonNegativeInt, PositiveInt

from edgeproof.config.validation import Frozen, Id, Sha256
from edgeproof.core.errors import ConfigError, suggest_nearest

SCHEMA = 1

Family = Literal["train", "distill", "prune", "quantize"]
FAMILIES: tuple[Family, ...] = ("train", "distill", "prune", "quantize")


class FolderSource(Frozen):
    kind: Literal["folder"]
    path: str


class UrlSource(Frozen):
    kind: Literal["url"]
    base: str


class DebianSource(Frozen):
    kind: Literal["debian"]
    package: str
    path: str


class PackageSource(Frozen):
    kind: Literal["package"]
    package: str
    path: str


Source = Annotated[FolderSource | UrlSource | DebianSource | PackageSource, Field(discriminator="kind")]


class TaskParams(Frozen):
    """A task's definition, with the seed that cuts its splits."""

    name: Id
    sources: list[Source] = Field(min_length=1)
    files: dict[str, Sha256] = Field(min_length=1)
    validation_samples: PositiveInt
    calibration_samples: PositiveInt
    quality_target: float = Field(ge=0, le=1)
    seed: NonNegativeInt


class Inputs(Frozen):
    """The directories a model is made from, as DVC sees them; the prepared data where there is no such model."""

    parent: str
    teacher: str
    teacher_2: str
    teacher_3: str


class ModelParams(Frozen):
    """One node of the study's graph."""

    method: Id
    parent: Id | None
    teachers: list[Id] = Field(max_length=3)
    network: Id
    network_options: dict[str, Any]
    options: dict[str, Any]
    seeds: list[NonNegativeInt] = Field(min_length=1)
    threads: int = Field(ge=1, le=256)
    packages: dict[str, str]
    inputs: Inputs


class ExportParams(Frozen):
    """One model lowered for one runtime, in all its schemes."""

    model: Id
    runtime: Id
    schemes: list[str] = Field(min_length=1)
    seeds: list[NonNegativeInt] = Field(min_length=1)
    threads: int = Field(ge=1, le=256)
    packages: dict[str, str]


Compliance = Literal["TEST01", "TEST04"]
Preset = Literal["quick", "standard", "official"]


class ScenarioSettings(Frozen):
    """LoadGen's own names (TestSettings), whole numbers, units in the name. What is null is MLPerf's own."""

    min_duration_ms: int | None = Field(default=None, ge=1, le=86_400_000)
    min_query_count: int | None = Field(default=None, ge=64, le=2**31)
    multi_stream_samples_per_query: int | None = Field(default=None, ge=1, le=1024)
    server_target_latency_ns: int | None = Field(default=None, ge=1)


class ScenarioParams(Frozen):
    """A LoadGen scenario, its settings, and for Server the share of the single-stream rate to offer."""

    scenario: Literal["SingleStream", "MultiStream", "Offline", "Server"]
    settings: ScenarioSettings
    load: float | None = Field(default=None, gt=0, le=1)


ModelAndScheme = Annotated[list[str], Field(min_length=2, max_length=2)]


class BenchParams(Frozen):
    """One session on one device with one runtime: its artifacts interleaved, the null runtime among them.

    In as many more processes as there are `turns`, each artifact takes turns with the one it is measured `against`:
    model → scheme → that one's model and scheme.
    """

    device: Id
    transport: Id
    runtime: Id
    session: NonNegativeInt
    preset: Preset
    processes: int = Field(ge=1, le=100)
    # Params of earlier versions call it 'turns'.
    interleaved: int = Field(default=0, ge=0, le=100, validation_alias=AliasChoices("interleaved", "turns"))
    against: dict[str, dict[str, ModelAndScheme]] = {}
    warm_up_s: float = Field(gt=0, le=3600)
    cool_down_s: float = Field(ge=0, le=3600)
    compliance: list[Compliance]
    seed: NonNegativeInt
    artifacts: dict[str, list[str]]
    seeds: list[NonNegativeInt] = Field(min_length=1)
    final: dict[str, list[str]]
    every: dict[str, ScenarioParams]
    all: dict[str, ScenarioParams]
    quality_target: float
    packages: dict[str, str]


class ReportParams(Frozen):
    """The rows' order and the row that others are compared with; families of models, each with its control."""

    models: list[Id]
    runtimes: list[Id]
    devices: list[Id]
    baseline: Id
    final: dict[str, list[str]]
    families: dict[Id, dict[Id, Id | None]]


class Params(Frozen):
    """The whole of params.yaml."""

    schema_: Literal[1] = Field(alias="schema")
    study: Id
    task: TaskParams
    train: dict[Id, ModelParams]
    distill: dict[Id, ModelParams]
    prune: dict[Id, ModelParams]
    quantize: dict[Id, ModelParams]
    export: dict[Id, ExportParams]
    bench: dict[Id, BenchParams]
    report: ReportParams

    def model(self, name: str) -> ModelParams:
        """Find a model of the study in whichever family made it."""
        known = {key: item for family in FAMILIES for key, item in getattr(self, family).items()}
        if name not in known:
            raise ConfigError(
                f"the study has no model '{name}'.{suggest_nearest(name, known)} Models: {', '.join(sorted(known))}."
            )
        found: ModelParams = known[name]
        return found
