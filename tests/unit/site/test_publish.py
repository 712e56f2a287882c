"""`edgeproof report`: any selection from the records, saved, printed, written, or put into a document."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeproof.cli import main
from edgeproof.core.directories import write_json
from edgeproof.core.errors import ConfigError, EdgeproofError, UnknownName
from edgeproof.records import signing
from edgeproof.report import selections, tables
from edgeproof.report.grids import grid
from edgeproof.report.rows import Row, rows
from edgeproof.site import publish
from tests.support import record_trees
from tests.support.example_rows import several
from tests.unit.conftest import ROOT

RECORDS = Path("results/records")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A teacher and a student on two runtimes, with accuracies."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for runtime in ("onnx", "tflite"):
        for model, factor in (("teacher", 4), ("student", 1)):
            for process in range(3):
                calls = rng.lognormal(9, 0.05, 800) * factor
                record_trees.write(RECORDS, model=model, runtime=runtime, process=process, call_ns=calls)
            record_trees.write(RECORDS, "accuracy", model=model, runtime=runtime, correct=rng.random(300) < 0.9)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main.run(["report", *arguments]) == code
    return capsys.readouterr().out


def test_a_report_shows_the_figures_of_the_records(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--format", "csv", "--baseline", "teacher", "--columns", "p50,accuracy,speed_up")
    told = {(line["runtime"], line["model"]): line for line in csv.DictReader(io.StringIO(text))}
    order = {"devices": ["local"], "models": ["teacher", "student"], "runtimes": ["onnx", "tflite"]}
    for row in rows(RECORDS, baseline="teacher", order=order):
        line = told[row.runtime, row.model]
        assert row.p50_ns is not None
        assert row.accuracy is not None
        assert float(line["p50_us"]) == pytest.approx(row.p50_ns.value / 1000)
        assert float(line["accuracy_percent_low"]) == pytest.approx(100 * row.accuracy.low)
        if row.model == "student":
            assert row.speed_up is not None
            assert float(line["speed_up_times"]) == pytest.approx(row.speed_up.value)


def test_a_selection_keeps_its_baseline_though_it_does_not_show_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, "--models", "student", "--columns", "speed_up", "--baseline", "teacher", "--format", "csv")
    told = list(csv.DictReader(io.StringIO(text)))
    assert {line["model"] for line in told} == {"student"}
    assert all(3 < float(line["speed_up_times"]) < 5 for line in told)


def test_a_selection_is_saved_as_yaml_and_shown_again_by_its_name(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--models", "student", "--rows", "model,scheme", "--across", "runtime", "--columns", "p50"]
    first = printed(capsys, *arguments, "--sort=-p50", "--save", "mine")
    saved = yaml.safe_load(Path("conf/reports/mine.yaml").read_text())
    assert saved == {
        "models": ["student"],
        "rows": ["model", "scheme"],
        "across": ["runtime"],
        "columns": ["p50"],
        "sort": ["-p50"],
    }
    assert printed(capsys, "mine") == first
    assert "p99, µs (onnx)" in printed(capsys, "mine", "--columns", "p99")


@pytest.mark.parametrize("ending", [".md", ".csv", ".parquet", ".tex", ".html"])
def test_a_files_ending_is_its_format(project: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    assert printed(capsys, "--out", f"out/table{ending}") == ""
    assert Path(f"out/table{ending}").stat().st_size > 100
    assert [path.name for path in Path("out").iterdir()] == [f"table{ending}"]


def test_a_document_gets_the_table_between_its_markers_and_nowhere_else(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("conf/reports").mkdir(parents=True)
    Path("conf/reports/readme.yaml").write_text("columns: [p50]\ninto: README.md\n")
    Path("README.md").write_text(f"before\n{publish.BEGINS}\nold\n{publish.ENDS}\nafter\n")
    printed(capsys, "readme")
    first = Path("README.md").read_text()
    assert first.startswith(f"before\n{publish.BEGINS}\n| device |")
    assert first.endswith(f"{publish.ENDS}\nafter\n")
    assert "old\n" not in first
    printed(capsys, "readme")
    assert Path("README.md").read_text() == first
    Path("README.md").write_text("no markers")
    with pytest.raises(ConfigError, match="table: begin"):
        main.run(["report", "readme"])
    assert Path("README.md").read_text() == "no markers"


def test_rows_come_back_from_table_json_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_json(path, tables.json_content(several(), study="study"))
    assert publish.rows_of_table(path) == several()
    older = json.loads(path.read_text())
    for row in older["rows"]:
        del row["conditions"], row["commit"]
    path.write_text(json.dumps(older))
    assert [row.conditions for row in publish.rows_of_table(path)] == [None] * len(several())
    assert isinstance(publish.rows_of_table(path)[0], Row)
    for damaged in ("{", "[]", '{"rows": [{}]}', '{"rows": 1}'):
        path.write_text(damaged)
        with pytest.raises(ConfigError, match=r"is no table\.json"):
            publish.rows_of_table(path)


@pytest.mark.parametrize("name", selections.names(ROOT / "conf/reports"))
def test_every_saved_selection_of_the_project_can_be_shown(name: str) -> None:
    committed = publish.rows_of_table(ROOT / "results/tables/table.json")
    assert grid(committed, selections.load(name, directory=ROOT / "conf/reports")).lines


SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
# They need an artifact and its sources, and have tests of their own.
BUILDERS = ("reproduce", "register", "bundle")


def test_the_commands_of_the_document_work_as_written(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    key = tmp_path_factory.mktemp("elsewhere") / "key"
    key.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    monkeypatch.setenv(signing.VARIABLE, str(key))
    for model, scheme in (("teacher", "fp32"), ("student_slim", "fp32"), ("student_slim", "int8-static")):
        for process in range(3):
            calls = np.random.default_rng(process).lognormal(9, 0.05, 800)
            described = {"name": model, "task": "task"}
            where = {"model": model, "scheme": scheme, "described": described}
            record_trees.write(RECORDS, process=process, call_ns=calls, **where)
        record_trees.write(RECORDS, "accuracy", correct=[True, False], **where)
    Path("README.md").write_text(f"{publish.BEGINS}\n{publish.ENDS}\n")
    shutil.copytree(ROOT / "conf/reports", "conf/reports")
    text = (ROOT / "docs/publishing.md").read_text(encoding="utf-8")
    commands = [line for block in SHELL.findall(text) for line in block.splitlines() if line.startswith("edgeproof ")]
    assert len(commands) > 10
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        if words[0] in BUILDERS:
            main.parsed(words)
        else:
            assert main.run(words) == 0, command
    assert "student_slim" in Path("README.md").read_text(encoding="utf-8")


# --- bad input -----------------------------------------------------------------------------------------------------


def test_without_records_there_is_an_empty_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "Nothing was measured" in printed(capsys)


def test_only_refused_records_are_shown_with_their_reasons(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(RECORDS)
    for process in range(2):
        record_trees.write(RECORDS, process=process, verdict="invalid", reasons=["LoadGen: too short"])
    text = printed(capsys, "--columns", "accuracy,p50,verdict")
    assert "refused<sup>1</sup>" in text
    assert "1. single_stream 0: LoadGen: too short; single_stream 1: LoadGen: too short" in text


def test_a_damaged_record_is_left_out_named_counted_and_in_the_exit_code(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = next(RECORDS.rglob("accuracy.0/record.json"))
    victim.write_text("{")
    assert main.run(["report", "--out", "table.csv"]) == 1
    told = capsys.readouterr().err
    assert str(victim) in told
    assert "1 damaged record(s) left out" in told
    assert Path("table.csv").exists()


def test_names_that_nothing_was_measured_with_are_refused_with_what_was(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EdgeproofError, match=r"with runtime 'onxx'\. Did you mean 'onnx'\? Measured: onnx, tflite"):
        main.run(["report", "--runtimes", "onxx,onnx"])
    with pytest.raises(UnknownName, match="unknown report 'reedme'"):
        main.run(["report", "reedme"])
    with pytest.raises(ConfigError, match=r"no format has the ending '\.docx'"):
        main.run(["report", "--out", "table.docx"])
    with pytest.raises(ConfigError, match="word"):
        main.run(["report", "--save", "../x"])
    Path("conf/reports").mkdir(parents=True)
    Path("conf/reports/bad.yaml").write_text("{")
    with pytest.raises(ConfigError, match=r"bad\.yaml is not YAML"):
        selections.load("bad")
    Path("conf/reports/bad.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="bad"):
        selections.load("bad")


def test_a_file_that_cannot_be_written_leaves_the_old_one(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/table.md").mkdir()
    with pytest.raises(EdgeproofError, match="could not write"):
        main.run(["report", "--out", "out/table.md"])
    assert [path.name for path in Path("out").iterdir()] == ["table.md"]
