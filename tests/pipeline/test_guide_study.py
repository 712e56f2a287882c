"""The study in docs/extending.md: its files are added to a clone, and its commands print a table with the RMSE."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.support.guide_files import read_commands, read_plugins
from tests.support.project_clones import clone_project

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(900)]


def test_the_study_of_the_guide_runs_without_any_other_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    clone, commands = clone_project(tmp_path / "clone"), read_commands()
    for name, content in read_plugins().items():
        place = clone.path / (name if name.startswith("conf/") else f"edgeproof/{name}")
        place.write_text(content, encoding="utf-8")
    clone.run("bash", "-euc", commands["data"])
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message", "Add Friedman's regression")
    program, *arguments = commands["run"].split()
    assert program == "edgeproof"
    printed = clone.edgeproof(*arguments).stdout
    assert "RMSE" in printed
    with (clone.path / "results/studies/friedman/tables/table.csv").open() as file:
        rows = list(csv.DictReader(file))
    measured = {(row["model"], row["scheme"]): float(row["quality"]) for row in rows if row["quality"]}
    assert {("teacher", "fp32"), ("slim", "fp32")} <= set(measured)
    # On a processor without VNNI, sums of 8-bit products saturate, and the RMSE is above the floor.
    (integers,) = [row for row in rows if row["scheme"] == "int8-static"]
    assert ("slim", "int8-static") in measured or "is above the task's floor" in integers["reasons"]
    assert all(1.0 < rmse < 1.5 for rmse in measured.values()), measured
