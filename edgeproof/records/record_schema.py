"""The JSON Schema of record.json, made from the dataclasses that parse it.

The files in edgeproof/records/schema are published for other tools, one for each schema of records. A record may have
more keys than its schema names: a reader ignores them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from edgeproof.records.record_files import SCHEMA
from edgeproof.records.record_parts import (
    ArtifactDescription,
    Commit,
    InstructionCount,
    InterleavedResult,
    ModelDescription,
    PreprocessingResult,
    QualityResult,
    RecordedCard,
    RecordedJob,
    RecordedResult,
    RecordIdentity,
    Verdict,
)
from edgeproof.records.schema_texts import describe_definitions, describe_properties

# The dataclasses of the parts that are objects.
PARTS = (
    ArtifactDescription,
    Commit,
    InstructionCount,
    InterleavedResult,
    ModelDescription,
    PreprocessingResult,
    QualityResult,
    RecordedCard,
    RecordedJob,
    RecordedResult,
)
DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class RecordBody:
    """The keys of record.json beside those of its identity, as RecordHeader and JobOutcome write them.

    Attributes:
        schema: the number of the schema.
        files: the sha256 of every other file of the record by name.
        reasons: one line for each reason of a verdict that is not valid.
        order: the job's place in the order of the session.
        measured_at: the beginning of the measurement, ISO 8601 in UTC.
        runner: the beginning of the runner's sha256.
        processes: the number of processes that the session planned for this kind of job.
        disturbed: the state of the machine is the only reason of the verdict, or of a missing time of preprocessing.
        unreachable: the device could not be reached.
        figures: the conditions during the run, such as waiting_share, and `unknown` those that could not be measured.
        harness_p50_ns: the median latency of the harness alone, in the same session.
        limits: the limits by which the run was judged.
        in_turns: the result of an interleaved run.
        profile: the time of each operator, or the reason why it is missing.
        placement: the unit or kernel that runs each operator, or the reason why the list is missing.
        estimate: the estimate of an NPU's compiler.
        preprocessing: the timed preprocessing of raw inputs, in the record of a profile.
    """

    schema: int
    verdict: Verdict
    reasons: tuple[str, ...]
    artifact: ArtifactDescription
    order: int
    measured_at: str
    files: Mapping[str, str]
    card: RecordedCard | None = None
    commit: Commit | None = None
    runner: str | None = None
    processes: int | None = None
    disturbed: bool = False
    unreachable: bool = False
    job: RecordedJob | None = None
    figures: Mapping[str, float] | None = None
    unknown: tuple[str, ...] | None = None
    harness_p50_ns: float | None = None
    limits: Mapping[str, Any] | None = None
    result: RecordedResult | None = None
    quality: QualityResult | None = None
    in_turns: InterleavedResult | None = None
    profile: Mapping[str, Any] | None = None
    placement: Mapping[str, Any] | None = None
    instructions: InstructionCount | None = None
    estimate: Mapping[str, Any] | None = None
    preprocessing: PreprocessingResult | None = None


def build_record_schema() -> dict[str, Any]:
    """Return the JSON Schema of record.json in the current schema."""
    identity, body = (_describe(part) for part in (RecordIdentity, RecordBody))
    describe_definitions(body["$defs"], PARTS)
    body["properties"]["schema"] = {"const": SCHEMA, "description": "The number of the schema."}
    return {
        "$schema": DIALECT,
        "$id": f"urn:edgeproof:record:{SCHEMA}",
        "title": f"record.json of edgeproof, schema {SCHEMA}",
        "description": "The outcome of one run. Other keys may exist, and a reader ignores them.",
        "type": "object",
        "properties": {**identity["properties"], **body["properties"]},
        "required": sorted({*identity["required"], *body["required"]}),
        "$defs": body["$defs"],
    }


def _describe(part: type[Any]) -> dict[str, Any]:
    schema = TypeAdapter(part).json_schema()
    describe_properties(schema, part)
    return schema
