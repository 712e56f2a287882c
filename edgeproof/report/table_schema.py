"""The JSON Schema of table.json, made from the dataclass of its rows.

The files in edgeproof/report/schema are published for other tools, one for each schema of tables.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from edgeproof.records.placement import Fallback, PlacementSummary
from edgeproof.records.record_schema import DIALECT
from edgeproof.records.schema_texts import describe_definitions, describe_properties
from edgeproof.report.row import BudgetGate, Row
from edgeproof.report.row_data import SCHEMA
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import Metric


def build_table_schema() -> dict[str, Any]:
    """Return the JSON Schema of table.json in the current schema."""
    row = TypeAdapter(Row).json_schema(mode="serialization")
    definitions = row.pop("$defs")
    describe_properties(row, Row)
    describe_definitions(definitions, (BudgetGate, Estimate, Fallback, Metric, PlacementSummary))
    for part in definitions["Estimate"]["properties"].values():  # an end that is unknown is null, as JSON has no NaN
        part["type"] = [part["type"], "null"]
    return {
        "$schema": DIALECT,
        "$id": f"urn:edgeproof:table:{SCHEMA}",
        "title": f"table.json of edgeproof, schema {SCHEMA}",
        "description": "The rows of a results table. A figure that was not measured, or was refused, is null.",
        "type": "object",
        "properties": {
            "schema": {"const": SCHEMA, "description": "The number of the schema."},
            "study": {"type": "string", "description": "The name of the study or of the benchmark."},
            "rows": {"type": "array", "items": {"$ref": "#/$defs/Row"}},
        },
        "required": ["rows", "schema", "study"],
        "$defs": {**definitions, "Row": row},
    }
