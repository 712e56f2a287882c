"""The shape of params.yaml: what every stage reads, exactly as DVC hashed it, through one loader.

One frozen model forbids unknown keys and checks types and ranges; every error names the key and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, StringConstraints, ValidationError

from edgeproof.core.errors import ConfigError, nearest

SCHEMA = 1
PARAMS = Path("params.yaml")

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Family = Literal["train", "distill", "prune", "quantize"]
Model = TypeVar("Model", bound=BaseModel)
FAMILIES: tuple[Family, ...] = ("train", "distill", "prune", "quantize")


class Frozen(BaseModel):
    """Immutable, strict about unknown keys and types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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
    turns: int = Field(default=0, ge=0, le=100)
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
                f"the study has no model '{name}'.{nearest(name, known)} Models: {', '.join(sorted(known))}."
            )
        found: ModelParams = known[name]
        return found


def load(path: Path = PARAMS) -> Params:
    """Read and check params.yaml. Raises ConfigError naming the key, what is allowed and the file to edit."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing. Compose it with 'edgeproof compose'.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not YAML: {' '.join(str(error).split())}. Compose it with 'edgeproof compose'."
        ) from None
    return checked(Params, content, str(path))


def checked(model: type[Model], content: Any, where: str) -> Model:
    """Validate `content` or raise one ConfigError that lists every problem in `where`."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = "\n".join(f"  - {_problem(model, detail)}" for detail in error.errors())
        raise ConfigError(f"{where} has {error.error_count()} problem(s):\n{problems}") from None


def _problem(model: type[BaseModel], detail: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in detail["loc"] if part != "__root__")
    if detail["type"] == "extra_forbidden":
        allowed = _fields_at(model, detail["loc"][:-1])
        hint = nearest(str(detail["loc"][-1]), allowed)
        listing = f" Allowed: {', '.join(sorted(allowed))}." if allowed else ""
        return f"{key}: unknown key.{hint}{listing}"
    if not key:  # the whole of it disagrees
        return str(detail["msg"]).removeprefix("Value error, ")
    given = "" if detail["type"] == "missing" else f" (given: {detail['input']!r:.60})"
    return f"{key}: {detail['msg']}{given}"


def _fields_at(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys allowed at a place in the model, for near misses."""
    current: Any = model
    for part in loc:
        fields = getattr(current, "model_fields", None)
        if fields is None:
            return []
        found = next((f for name, f in fields.items() if part in (name, f.alias)), None)
        annotation = found.annotation if found is not None else None
        arguments = [a for a in getattr(annotation, "__args__", ()) if isinstance(a, type) and issubclass(a, BaseModel)]
        if annotation is not None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
            current = annotation
        elif arguments:
            return _fields_at(arguments[-1], loc[loc.index(part) + 2 :])
        else:
            return []
    return [field.alias or name for name, field in current.model_fields.items()]
