"""The command `edgeproof report`: tables of selections, printed, saved, written to files, inserted into documents."""

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
from edgeproof.core.errors import ConfigError, EdgeproofError, UnknownNameError
from edgeproof.records import signing
from edgeproof.report import row_data, selections
from edgeproof.report.grids import build_grid
from edgeproof.report.row import Row
from edgeproof.report.rows import read_rows
from edgeproof.report.table_files import BEGIN_MARKER, END_MARKER
from edgeproof.report.table_json import read_table_rows
from tests.support import record_trees
from tests.support.example_rows import several
from tests.support.project import ROOT, make_empty_project

RECORDS = Path("results/records")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create records of a teacher and a student on two runtimes, with accuracies."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for runtime in ("onnx", "tflite"):
        for model, factor in (("teacher", 4), ("student", 1)):
            for process in range(3):
                calls = rng.lognormal(9, 0.05, 800) * factor
                record_trees.write(RECORDS, model=model, runtime=runtime, process=process, call_ns=calls)
            record_trees.write(RECORDS, "accuracy", model=model, runtime=runtime, correct=rng.random(300) < 0.9)
    return tmp_path


def print_report(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main.run(["report", *arguments]) == code
    return capsys.readouterr().out


def test_a_report_shows_the_figures_of_the_records(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = print_report(capsys, "--format", "csv", "--baseline", "teacher", "--columns", "p50,quality,speed_up")
    by_artifact = {(line["runtime"], line["model"]): line for line in csv.DictReader(io.StringIO(text))}
    order = {"devices": ["local"], "models": ["teacher", "student"], "runtimes": ["onnx", "tflite"]}
    for row in read_rows(RECORDS, baseline="teacher", order=order):
        line = by_artifact[row.runtime, row.model]
        assert row.p50_ns is not None
        assert row.quality is not None
        assert float(line["p50_us"]) == pytest.approx(row.p50_ns.value / 1000)
        assert float(line["quality_percent_low"]) == pytest.approx(100 * row.quality.low)
        if row.model == "student":
            assert row.speed_up is not None
            assert float(line["speed_up_times"]) == pytest.approx(row.speed_up.value)


def test_a_baseline_outside_the_selection_is_compared_with_but_not_shown(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = print_report(
        capsys, "--models", "student", "--columns", "speed_up", "--baseline", "teacher", "--format", "csv"
    )
    lines = list(csv.DictReader(io.StringIO(text)))
    assert {line["model"] for line in lines} == {"student"}
    assert all(3 < float(line["speed_up_times"]) < 5 for line in lines)


def test_a_saved_selection_gives_the_same_table_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--models", "student", "--rows", "model,scheme", "--across", "runtime", "--columns", "p50"]
    first = print_report(capsys, *arguments, "--sort=-p50", "--save", "mine")
    saved = yaml.safe_load(Path("conf/reports/mine.yaml").read_text())
    assert saved == {
        "models": ["student"],
        "rows": ["model", "scheme"],
        "across": ["runtime"],
        "columns": ["p50"],
        "sort": ["-p50"],
    }
    assert print_report(capsys, "mine") == first
    assert "p99, µs (onnx)" in print_report(capsys, "mine", "--columns", "p99", "--format", "markdown")


@pytest.mark.parametrize("suffix", [".md", ".csv", ".parquet", ".tex", ".html"])
def test_the_suffix_of_a_file_selects_the_format(
    project: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    assert print_report(capsys, "--out", f"out/table{suffix}") == ""
    assert Path(f"out/table{suffix}").stat().st_size > 100
    assert [path.name for path in Path("out").iterdir()] == [f"table{suffix}"]


def test_a_table_replaces_only_the_text_between_the_markers_of_a_document(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("conf/reports").mkdir(parents=True)
    Path("conf/reports/readme.yaml").write_text("columns: [p50]\ninto: README.md\n")
    Path("README.md").write_text(f"before\n{BEGIN_MARKER}\nold\n{END_MARKER}\nafter\n")
    print_report(capsys, "readme")
    first = Path("README.md").read_text()
    assert first.startswith(f"before\n{BEGIN_MARKER}\n| device |")
    assert first.endswith(f"{END_MARKER}\nafter\n")
    assert "old\n" not in first
    print_report(capsys, "readme")
    assert Path("README.md").read_text() == first
    Path("README.md").write_text("no markers")
    with pytest.raises(ConfigError, match="table: begin"):
        main.run(["report", "readme"])
    assert Path("README.md").read_text() == "no markers"


def test_reading_table_json_gives_the_rows_that_were_written(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_json(path, row_data.describe_rows(several(), study="study"))
    assert read_table_rows(path) == several()
    older = json.loads(path.read_text())
    for row in older["rows"]:
        del row["conditions"], row["commit"]
    path.write_text(json.dumps(older))
    assert [row.conditions for row in read_table_rows(path)] == [None] * len(several())
    assert isinstance(read_table_rows(path)[0], Row)
    for damaged in ("{", "[]", '{"rows": [{}]}', '{"rows": 1}'):
        path.write_text(damaged)
        with pytest.raises(ConfigError, match=r"is not a table\.json"):
            read_table_rows(path)


@pytest.mark.parametrize("name", selections.list_names(ROOT / "conf/reports"))
def test_every_saved_selection_of_the_project_gives_a_table(name: str) -> None:
    committed = read_table_rows(ROOT / "results/tables/table.json")
    assert build_grid(committed, selections.load(name, directory=ROOT / "conf/reports")).lines


SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
# These commands need a study and its artifacts, and `report pr` a git history. They have their own tests.
BUILDERS = ("reproduce", "register", "bundle", "log")


def test_the_commands_in_docs_publishing_work(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    key = tmp_path_factory.mktemp("elsewhere") / "key"
    key.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    monkeypatch.setenv(signing.KEY_VARIABLE, str(key))
    for model, scheme in (("teacher", "fp32"), ("student_slim", "fp32"), ("student_slim", "int8-static")):
        for process in range(3):
            calls = np.random.default_rng(process).lognormal(9, 0.05, 800)
            description = {"name": model, "task": "task"}
            record_trees.write(
                RECORDS, model=model, scheme=scheme, described=description, process=process, call_ns=calls
            )
        record_trees.write(
            RECORDS, "accuracy", model=model, scheme=scheme, described=description, correct=[True, False]
        )
    Path("README.md").write_text(f"{BEGIN_MARKER}\n{END_MARKER}\n")
    shutil.copytree(ROOT / "conf", "conf")
    text = (ROOT / "docs/publishing.md").read_text(encoding="utf-8")
    commands = [line for block in SHELL.findall(text) for line in block.splitlines() if line.startswith("edgeproof ")]
    assert len(commands) > 10
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        if words[0] in BUILDERS or words[:2] == ["report", "pr"]:
            main.parse(words)
        else:
            assert main.run(words) == 0, command
    assert "student_slim" in Path("README.md").read_text(encoding="utf-8")


# --- bad input -----------------------------------------------------------------------------------------------------


def test_without_records_the_table_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_empty_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "No measurement matches this table." in print_report(capsys)


def test_refused_records_are_shown_with_their_reasons(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(RECORDS)
    for process in range(2):
        record_trees.write(RECORDS, process=process, verdict="invalid", reasons=["LoadGen: too short"])
    text = print_report(capsys, "--columns", "quality,p50,verdict", "--format", "markdown")
    assert "refused<sup>1</sup>" in text
    assert "1. single_stream 0: LoadGen: too short; single_stream 1: LoadGen: too short" in text


def test_a_damaged_record_is_skipped_reported_and_gives_exit_code_1(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = next(RECORDS.rglob("accuracy.0/record.json"))
    damaged.write_text("{")
    assert main.run(["report", "--out", "table.csv"]) == 1
    errors = capsys.readouterr().err
    assert str(damaged) in errors
    assert "Skipped 1 damaged record(s)" in errors
    assert Path("table.csv").exists()


def test_unknown_names_are_refused_with_the_known_ones(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EdgeproofError, match=r"of runtime 'onxx'\. Did you mean 'onnx'\? Measured: onnx, tflite"):
        main.run(["report", "--runtimes", "onxx,onnx"])
    with pytest.raises(UnknownNameError, match="unknown report 'reedme'"):
        main.run(["report", "reedme"])
    with pytest.raises(ConfigError, match=r"no format has the suffix '\.docx'"):
        main.run(["report", "--out", "table.docx"])
    with pytest.raises(ConfigError, match="word"):
        main.run(["report", "--save", "../x"])
    Path("conf/reports").mkdir(parents=True)
    Path("conf/reports/bad.yaml").write_text("{")
    with pytest.raises(ConfigError, match=r"bad\.yaml, line 1: not YAML"):
        selections.load("bad")
    Path("conf/reports/bad.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="bad"):
        selections.load("bad")


def test_a_failed_write_keeps_the_old_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/table.md").mkdir()
    with pytest.raises(EdgeproofError, match="could not write"):
        main.run(["report", "--out", "out/table.md"])
    assert [path.name for path in Path("out").iterdir()] == ["table.md"]
