"""The schema of a study as conf/ writes it: the graph of models, what to measure, and the libraries it draws on."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from edgeproof.config.params import (
    Compliance,
    FileGroup,
    Files,
    InterleavedProcesses,
    ModelStage,
    PauseSeconds,
    Preset,
    Processes,
    Samples,
    ScenarioParams,
    Seed,
    Session,
    Source,
    Threads,
    WarmUpSeconds,
)
from edgeproof.config.validation import Frozen, Id

# Options of a plugin, or values that a study's models refer to. The plugin's own Options model checks them.
Options = dict[str, Any]


class ModelEntry(Frozen):
    """A model of the study: it starts from a network or from a parent model, and may have teachers."""

    method: Id
    network: Id | None = None
    network_options: Options = {}
    parent: Id | None = None
    teacher: Id | list[Id] | None = None
    options: Options = {}
    family: Id | None = None
    control: Id | None = None
    runtimes: list[Id] | None = None
    schemes: list[str] = Field(default=["fp32"], min_length=1)
    final: list[str] = []

    @property
    def teachers(self) -> list[str]:
        """Return the names of its teachers as a list, which may be empty."""
        return [self.teacher] if isinstance(self.teacher, str) else list(self.teacher or [])


class PresetEntry(Frozen):
    """A preset: how long and how often to measure."""

    preset: Preset
    processes: Processes
    warm_up_s: WarmUpSeconds
    cool_down_s: PauseSeconds
    compliance: list[Compliance] = []


class BenchEntry(PresetEntry):
    """The benchmark of a study: devices, runtimes, scenarios, and the number of interleaved processes."""

    RENAMED_KEYS: ClassVar[dict[str, str]] = {"turns": "interleaved"}

    devices: list[Id] = Field(min_length=1)
    runtimes: list[Id] = Field(min_length=1)
    session: Session
    interleaved: InterleavedProcesses = 0
    every: list[Id] = Field(min_length=1)
    final: list[Id]
    baseline: Id


class MethodDefinition(Frozen):
    """Content of conf/methods/<name>.yaml."""

    stage: ModelStage
    packages: list[str]
    options: Options


class NetworkDefinition(Frozen):
    """Content of conf/networks/<name>.yaml. `search` has the values of options that a search may choose from."""

    options: Options
    search: dict[str, str] = {}


class RuntimeDefinition(Frozen):
    """Content of conf/runtimes/<name>.yaml: its schemes, and the packages of exporting and of measuring."""

    schemes: list[str]
    host_packages: list[str]
    device_packages: list[str]


class TaskDefinition(Frozen):
    """Content of conf/tasks/<name>.yaml of a task with a file of its own. Its keys are explained at TaskParams.

    The file gives the name, the task's code the metric, the study the seed.
    """

    RENAMED_KEYS: ClassVar[dict[str, str]] = {"accuracy_target": "quality_target", "accuracy": "quality_target"}

    sources: list[Source] = Field(min_length=1)
    files: Files
    further: list[FileGroup] = []
    train_samples: Samples | None = None
    validation_samples: Samples
    calibration_samples: Samples
    quality_target: float
    quality_floor: float | None = None


class Study(Frozen):
    """A composed study: its models, what to measure, values that its models share, and the libraries."""

    study: Id
    task: Id
    seed: Seed
    seeds: list[Seed] = Field(default=[], max_length=1000)
    threads: Threads
    scheme: str | None = None
    strip: bool = False
    models: dict[Id, ModelEntry] = Field(min_length=1)
    bench: BenchEntry
    network: Options = {}
    sequences: Options = {}
    attention: Options = {}
    federate: Options = {}
    train: Options = {}
    distill: Options = {}
    prune: Options = {}
    quantize: Options = {}
    tasks: dict[Id, Any]
    networks: dict[Id, NetworkDefinition]
    methods: dict[Id, MethodDefinition]
    scenarios: dict[Id, ScenarioParams]
    runtimes: dict[Id, RuntimeDefinition]

    def list_seeds(self) -> list[int]:
        """Return the seeds that each model is made from. Latency is measured for the first one only."""
        return self.seeds or [self.seed]

    def list_runtimes(self, model: str) -> list[str]:
        """Return the runtimes that a model is exported for: its own, or all of the study's."""
        chosen = self.models[model].runtimes
        return self.bench.runtimes if chosen is None else chosen


class BenchSettings(Frozen):
    """Settings to measure files that no study made: a preset, and all scenarios and runtimes."""

    bench: PresetEntry
    scenarios: dict[Id, ScenarioParams]
    runtimes: dict[Id, RuntimeDefinition]
