"""The published JSON Schema of tables is current, and accepts what edgeproof writes."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from edgeproof.cli import main
from edgeproof.records.placement import Fallback, PlacementSummary
from edgeproof.report import row_data
from edgeproof.report.row import BudgetGate
from edgeproof.report.table_schema import build_table_schema
from edgeproof.statistics.estimates import Estimate
from tests.support.committed_tables import list_tables
from tests.support.example_rows import PLAIN, several
from tests.support.project import ROOT

PUBLISHED = ROOT / f"edgeproof/report/schema/table-{row_data.SCHEMA}.schema.json"
VALIDATOR = Draft202012Validator(build_table_schema())


def test_the_published_schema_is_that_of_the_rows() -> None:
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert published == build_table_schema(), f"run: edgeproof schema table > {PUBLISHED.relative_to(ROOT)}"
    Draft202012Validator.check_schema(published)


def test_the_command_prints_the_published_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["schema", "table"]) == 0
    assert capsys.readouterr().out == PUBLISHED.read_text(encoding="utf-8")


def test_the_committed_table_is_valid() -> None:
    VALIDATOR.validate(json.loads(list_tables(ROOT)[-1]))


def test_rows_of_every_kind_are_valid() -> None:
    odd = replace(
        PLAIN,
        p50_ns=Estimate(1.0, math.nan, math.nan),
        reference=("teacher", "fp32"),
        budget=BudgetGate("exceeded", ("size is up to 2 MB (limit 1)",)),
        seed_qualities={0: 0.5, 7: 0.6},
        npu="ethos-u55",
        estimate={"tool": "vela", "cycles": 1},
        emulated={"p50_ns": 1.0},
        placement=PlacementSummary(1, 2, (Fallback("Copy", "Python", "slow", 1, ("z",)),)),
    )
    content = json.loads(json.dumps(row_data.describe_rows([*several(), odd], study="study")))
    VALIDATOR.validate(content)
    assert content["rows"][0].keys() == build_table_schema()["$defs"]["Row"]["properties"].keys()


@pytest.mark.parametrize("change", [{"verdict": None}, {"p50_ns": 1.5}, {"size_bytes": "1 KB"}, {"reference": ["a"]}])
def test_a_row_with_a_wrong_value_is_refused(change: dict[str, object]) -> None:
    content = json.loads(json.dumps(row_data.describe_rows([PLAIN], study="study")))
    content["rows"][0] |= change
    assert not VALIDATOR.is_valid(content)
