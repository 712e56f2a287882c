"""The placement in a record: its summary, its column in the store, and older or damaged records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core.errors import ArtifactError
from edgeproof.records import record_files, summaries
from edgeproof.records.placement import Fallback, PlacementSummary
from tests.support import record_trees

OPERATORS = [
    {"name": "conv", "kind": "CONV_2D", "where": "XNNPACK", "reason": ""},
    *({"name": f"gather {n}", "kind": "GATHER", "where": "LiteRT", "reason": "no kernel"} for n in range(4)),
]
SUMMARY = PlacementSummary(1, 5, (Fallback("GATHER", "LiteRT", "no kernel", 4, ("gather 0", "gather 1", "gather 2")),))


def write(root: Path, placement: Any) -> Path:
    return record_trees.write(root, "profile", job=False, profile={"missing": "none"}, order=1, placement=placement)


def test_operators_are_counted_and_the_others_grouped_by_kind_kernel_and_reason(tmp_path: Path) -> None:
    record = record_files.read(write(tmp_path, {"operators": OPERATORS}))
    assert record.placement == SUMMARY
    assert str(SUMMARY) == "1 of 5"
    assert SUMMARY.share == 0.2
    assert SUMMARY.fallbacks[0].describe() == "4 × GATHER on LiteRT: no kernel (gather 0, gather 1, gather 2, …)"
    (line,) = summaries.summarize_records([record], tmp_path)
    assert line.placement is not None
    assert PlacementSummary.from_json(json.loads(line.placement)) == SUMMARY


@pytest.mark.parametrize("placement", [None, {"missing": "the runtime lists none"}, {"operators": []}])
def test_a_record_without_a_list_has_no_placement(tmp_path: Path, placement: Any) -> None:
    record = record_files.read(write(tmp_path, placement))
    assert record.placement is None
    assert summaries.summarize_records([record], tmp_path)[0].placement is None


@pytest.mark.parametrize("placement", [{"operators": [{"name": "conv"}]}, {"operators": [3]}, {"operators": 3}, "text"])
def test_a_damaged_placement_is_an_error_that_names_the_record(tmp_path: Path, placement: Any) -> None:
    record = record_files.read(write(tmp_path, placement))
    with pytest.raises(ArtifactError, match=r"record\.json is damaged"):
        _ = record.placement


def test_the_times_of_an_emulator_are_hidden_but_not_its_placement(tmp_path: Path) -> None:
    place = record_trees.write(
        tmp_path, "profile", job=False, order=1, profile={"missing": "none"}, placement={"operators": OPERATORS},
        card={"emulated": True},
    )  # fmt: skip
    (line,) = summaries.summarize_records([record_files.read(place)], tmp_path)
    assert line.profile is None
    assert line.placement is not None
