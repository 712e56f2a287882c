"""The script with the rows: figures, units and directions that the site's own scripts show."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from edgeproof.report.grid_marks import DeviceRanking
from edgeproof.report.row import Row
from edgeproof.site.rows_script import render_rows_script
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import Metric
from tests.support.example_rows import about, row

RMSE: dict[str, Any] = {"metric_name": "rmse", "metric": Metric("RMSE", "mm", digits=2, better="less")}


def read_script(*rows: Row) -> dict[str, Any]:
    facts: Any = SimpleNamespace(rows=rows, ranking=DeviceRanking(rows), get_device_title=str.title)
    text = render_rows_script(facts)
    content: dict[str, Any] = json.loads(text.removeprefix("window.EDGEPROOF = ").removesuffix(";\n"))
    return content


def test_accuracies_are_percentages_of_which_more_is_better() -> None:
    content = read_script(row(), row("student", quality=Estimate(0.8, 0.78, 0.82)))
    assert content["figures"]["quality"] == {"title": "accuracy, %", "better": "more", "scenario": "accuracy"}
    assert [each["quality"] for each in content["rows"]] == [[90, 88, 92], [80, 78, 82]]
    assert not any("metric" in each for each in content["rows"])


def test_errors_have_their_unit_and_the_front_turns_around() -> None:
    slow = row(quality=Estimate(3.0, 2.9, 3.1), **RMSE)
    fast = row("fast", p50_ns=about(20_000.0), quality=Estimate(4.0, 3.9, 4.1), **RMSE)
    bad = row("bad", p50_ns=about(40_000.0), quality=Estimate(5.0, 4.9, 5.1), **RMSE)
    content = read_script(slow, fast, bad)
    assert content["figures"]["quality"] == {"title": "RMSE, mm", "better": "less", "scenario": "accuracy"}
    assert [each["quality"] for each in content["rows"]] == [[3, 2.9, 3.1], [4, 3.9, 4.1], [5, 4.9, 5.1]]
    assert ["p50" in each.get("front", []) for each in content["rows"]] == [True, True, False]


def test_rows_of_several_metrics_name_theirs() -> None:
    content = read_script(row(), row("other", quality=Estimate(3.0, 2.9, 3.1), **RMSE))
    assert content["figures"]["quality"]["title"] == "quality"
    assert [(each["metric"], each["better"]) for each in content["rows"]] == [
        ("accuracy, %", "more"),
        ("RMSE, mm", "less"),
    ]
