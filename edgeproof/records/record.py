"""A record as readers use it: typed parts, parsed from record.json when they are first used, and raw arrays.

A part that is missing or of another type raises ArtifactError, which names the key. Keys that this version doesn't
know stay in `Record.content`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ArtifactError
from edgeproof.core.regular_files import is_regular_file
from edgeproof.records import array_files
from edgeproof.records.fields import parse_fields, parse_optional
from edgeproof.records.kinds import EVIDENCE_FILE, INTERLEAVED, OUTPUTS_FILE, RECORD_FILE
from edgeproof.records.placement import OperatorPlacement, PlacementSummary, parse_operators, summarize_placement
from edgeproof.records.record_parts import (
    ArtifactDescription,
    Commit,
    InstructionCount,
    InterleavedResult,
    OperatorTime,
    PreprocessingResult,
    QualityResult,
    RecordedCard,
    RecordedJob,
    RecordedResult,
    RecordIdentity,
    Verdict,
)
from edgeproof.statistics.estimates import Array
from edgeproof.statistics.metric import CORRECT

MEASURE_AGAIN = "Measure again: raise bench.session in the study, then 'make repro'."

# The most bytes that the arrays of one file may take in memory.

Part = TypeVar("Part")


@dataclass(frozen=True)
class Record:
    """A record read from disk.

    Attributes:
        content: record.json as this version's schema has it. Use the typed properties; `content` is for keys of other
            versions and for whole parts that are compared or copied as JSON.
        directory: where the record and its arrays lie.
        schema: the schema on disk, which may be older than this version's.
    """

    content: Mapping[str, Any]
    directory: Path
    schema: int

    @functools.cached_property
    def identity(self) -> RecordIdentity:
        """The job that the record is of."""
        return self._parse(lambda: parse_fields(RecordIdentity, self.content))

    @property
    def verdict(self) -> Verdict:
        """'valid', 'invalid', 'unsupported' or 'error'."""
        verdict: Verdict = self._parse(lambda: self.content["verdict"])
        return verdict

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons of a verdict that is not valid."""
        return self._parse(lambda: tuple(self.content["reasons"]))

    @property
    def measured_at(self) -> str:
        """The beginning of the measurement, ISO 8601 in UTC."""
        return self._parse(lambda: str(self.content["measured_at"]))

    @property
    def order(self) -> int:
        """The job's place in the order of the session."""
        return self._parse(lambda: int(self.content["order"]))

    @property
    def is_disturbed(self) -> bool:
        """True if the state of the machine is the only reason of the verdict, or of a missing time of preprocessing."""
        return bool(self.content.get("disturbed"))

    @property
    def is_unreachable(self) -> bool:
        """True if the device could not be reached."""
        return bool(self.content.get("unreachable"))

    @property
    def runner_sha256(self) -> str | None:
        """The beginning of the sha256 of the runner that measured."""
        runner: str | None = self.content.get("runner")
        return runner

    @property
    def harness_p50_ns(self) -> float | None:
        """The median latency of the harness alone, in the same session."""
        harness_p50_ns: float | None = self.content.get("harness_p50_ns")
        return harness_p50_ns

    @property
    def figures(self) -> Mapping[str, float]:
        """The conditions during the run, such as waiting_share."""
        figures: Mapping[str, float] = self.content.get("figures", {})
        return figures

    @property
    def files(self) -> Mapping[str, str]:
        """The sha256 of every file of the record by name."""
        return self._parse(lambda: dict(self.content["files"]))

    @functools.cached_property
    def artifact(self) -> ArtifactDescription:
        """The artifact that was measured."""
        return self._parse(lambda: ArtifactDescription.parse(self.content["artifact"]))

    @functools.cached_property
    def card(self) -> RecordedCard:
        """The device's card."""
        return self._parse(lambda: parse_fields(RecordedCard, self.content.get("card", {}), "card"))

    @functools.cached_property
    def commit(self) -> Commit | None:
        """The commit that measured, or None outside a repository."""
        return self._parse(lambda: parse_optional(Commit, self.content, "commit"))

    @functools.cached_property
    def job(self) -> RecordedJob | None:
        """The job that the runner was given, or None where LoadGen did not run."""
        return self._parse(lambda: parse_optional(RecordedJob, self.content, "job"))

    @functools.cached_property
    def result(self) -> RecordedResult | None:
        """The runner's result, or None where the runner was not started."""
        return self._parse(lambda: parse_optional(RecordedResult, self.content, "result"))

    @functools.cached_property
    def quality(self) -> QualityResult | None:
        """The quality of an accuracy run, valid or below the task's floor."""
        return self._parse(lambda: parse_optional(QualityResult, self.content, "quality"))

    @functools.cached_property
    def interleaved(self) -> InterleavedResult | None:
        """The result of an interleaved run."""
        return self._parse(lambda: parse_optional(InterleavedResult, self.content, INTERLEAVED))

    @functools.cached_property
    def instructions(self) -> InstructionCount | None:
        """The instructions of one inference."""
        return self._parse(lambda: parse_optional(InstructionCount, self.content, "instructions"))

    @functools.cached_property
    def preprocessing(self) -> PreprocessingResult | None:
        """The timed preprocessing of raw inputs, or None for a task without them."""
        return self._parse(lambda: parse_optional(PreprocessingResult, self.content, "preprocessing"))

    @property
    def profile(self) -> Mapping[str, Any] | None:
        """The profile: 'method', 'inferences' and 'operators', or the reason why it is 'missing'."""
        profile: Mapping[str, Any] | None = self.content.get("profile")
        return profile

    @property
    def operators(self) -> list[OperatorTime]:
        """The operators of the profile; none where there is no profile."""
        operators = (self.profile or {}).get("operators", [])
        return self._parse(
            lambda: [parse_fields(OperatorTime, operator, "profile.operators") for operator in operators]
        )

    @functools.cached_property
    def operator_placements(self) -> list[OperatorPlacement]:
        """The operators with the unit or kernel that runs them; none where there is no placement."""
        content = self.content.get("placement")
        return [] if content is None else self._parse(lambda: parse_operators(content))

    @functools.cached_property
    def placement(self) -> PlacementSummary | None:
        """The summary of where operators run, or None without a placement."""
        return summarize_placement(self.operator_placements)

    @property
    def estimate(self) -> Mapping[str, Any] | None:
        """The estimate of an NPU's compiler."""
        estimate: Mapping[str, Any] | None = self.content.get("estimate")
        return estimate

    @property
    def loadgen_scenario(self) -> str | None:
        """LoadGen's scenario, or None where LoadGen did not run."""
        return None if self.job is None else self.job.scenario

    @property
    def performance_scenario(self) -> str | None:
        """LoadGen's scenario of a performance run; None for accuracy and compliance runs and without LoadGen."""
        identity = self.identity
        return None if identity.is_accuracy or identity.compliance else self.loadgen_scenario

    def load_evidence(self) -> dict[str, Array]:
        """Return the arrays that the quality is computed from, with one row for each of its units.

        Records of older schemas keep the hits of an accuracy beside the outputs. Raises ArtifactError if the evidence
        is missing or damaged, or has another number of rows than the quality has units.
        """
        is_older = EVIDENCE_FILE not in self.files and OUTPUTS_FILE in self.files
        file = OUTPUTS_FILE if is_older else EVIDENCE_FILE
        arrays = {CORRECT: self.read_array(file, CORRECT)} if is_older else self.load_all_arrays(file)
        lengths = {array.shape[:1] for array in arrays.values()}
        if self.quality is None or lengths != {(self.quality.units,)}:
            rows = ", ".join(f"'{name}' {array.shape}" for name, array in arrays.items())
            units = "no quality" if self.quality is None else f"{self.quality.units} units"
            raise ArtifactError(
                f"{self.directory / file} is damaged: it holds {rows or 'nothing'}, and the record has {units}. "
                f"{MEASURE_AGAIN}"
            )
        return arrays

    def load_outputs(self) -> tuple[Array, ...]:
        """Return the outputs (N, …) of an accuracy run, one array for each port. Raises ArtifactError."""
        arrays = self.load_all_arrays(OUTPUTS_FILE)
        if "outputs" in arrays:
            return (arrays["outputs"],)
        return tuple(arrays[f"outputs_{number}"] for number in range(len(arrays)) if f"outputs_{number}" in arrays)

    def read_array(self, file: str, name: str) -> Array:
        """Return one of the record's raw arrays. Raises ArtifactError if it is missing or damaged."""
        return self.load_arrays(file, name)[0]

    def load_arrays(self, file: str, *names: str) -> tuple[Array, ...]:
        """Return several of the raw arrays in one file. Raises ArtifactError if one is missing or damaged."""
        return tuple(self._read_arrays(file, lambda stored: {name: stored[name] for name in names}).values())

    def load_all_arrays(self, file: str) -> dict[str, Array]:
        """Return all raw arrays in one file by name. Raises ArtifactError if it is missing or damaged."""
        return self._read_arrays(file, dict)

    def _read_arrays(self, file: str, select: Callable[[Mapping[str, Array]], dict[str, Array]]) -> dict[str, Array]:
        path = self.find_file(file)
        try:
            return array_files.load_arrays(path, select)
        except Exception as error:  # numpy and zipfile raise many kinds for a damaged file
            problem = f"{type(error).__name__}: {error}"
            raise ArtifactError(f"{path} holds no arrays that can be read ({problem}). {MEASURE_AGAIN}") from None

    def find_file(self, name: str) -> Path:
        """Return the path of one of the record's files. Raises ArtifactError if it is missing or damaged."""
        path = self.directory / name
        if not is_regular_file(path) or hash_file(path) != self.files.get(name):
            raise ArtifactError(f"{path} is missing or damaged. {MEASURE_AGAIN}")
        return path

    def _parse(self, parse: Callable[[], Part]) -> Part:
        try:
            return parse()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
            raise ArtifactError(f"{self.directory / RECORD_FILE} is damaged: {problem}. {MEASURE_AGAIN}") from None
