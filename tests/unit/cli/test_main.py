"""The command `edgeproof`: parsing, and the commands about studies and submissions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproof.cli import main
from edgeproof.config import compose, params_file
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.study import repro
from tests.support.project import ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the files that composing reads, so that the project itself is not changed."""
    for name in ("conf", "devices"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copyfile(ROOT / "requirements.lock", tmp_path / "requirements.lock")
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_compose_with_print_writes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["compose", "--print", "study=digits"]) == 0
    assert capsys.readouterr().out == params_file.dump_params(compose.compose("digits"))
    assert not (project / "params.yaml").exists()


def test_compose_writes_params_with_their_command(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["compose", "study=digits", "seed=3"]) == 0
    text = (project / "params.yaml").read_text(encoding="utf-8")
    assert "'edgeproof compose study=digits seed=3'" in text.partition("\n")[0]
    assert text.partition("\n")[2] == params_file.dump_params(compose.compose("digits", ["seed=3"]))
    assert "study 'digits'" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["compse"], ["list", "--all"]])
def test_an_unknown_command_prints_the_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.run(argv)
    assert ended.value.code == 2
    assert "usage: edgeproof" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "study", "overrides"),
    [
        ([], None, []),
        (["digits"], "digits", []),
        (["digits", "seed=1"], "digits", ["seed=1"]),
        (["preset=official"], None, ["preset=official"]),
        (["preset=quick", "+x=1"], None, ["preset=quick", "+x=1"]),
    ],
)
def test_repro_takes_an_optional_study_and_then_overrides(
    monkeypatch: pytest.MonkeyPatch, words: list[str], study: str | None, overrides: list[str]
) -> None:
    calls: list[object] = []
    monkeypatch.setattr(repro, "run_study", lambda *arguments, print_table: calls.append(arguments) or 0)
    assert main.run(["repro", *words]) == 0
    assert calls == [(study, overrides)]


def test_validate_lists_the_problems_and_returns_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["validate", str(tmp_path)]) == 1
    *problems, last = capsys.readouterr().out.splitlines()
    assert problems
    assert last == f"{tmp_path}: {len(problems)} problem(s)"


def test_submit_without_official_records_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    argv = ["submit", "--submitter", "me", "--records", str(tmp_path / "records"), "--out", str(tmp_path / "out")]
    with pytest.raises(EdgeproofError):
        main.run(argv)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--interleaved", "--in-turns"])
def test_bench_accepts_the_former_name_of_interleaved(option: str) -> None:
    assert main.parse(["bench", "model.tflite", option]).interleaved
    assert not main.parse(["bench", "model.tflite"]).interleaved


def test_the_former_name_of_interleaved_is_not_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.run(["bench", "--help"])
    text = capsys.readouterr().out
    assert "--interleaved" in text
    assert "--in-turns" not in text


@pytest.mark.parametrize("name", sorted(main.command_names() - {"sweep"}))
def test_every_command_has_a_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.run([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: edgeproof {name}" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--runtimes", "--schemes", "--scenarios"])
def test_a_list_of_names_must_not_be_empty(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.run(["bench", "model.tflite", option, " , "])
    assert ended.value.code == 2
    assert "expected at least one name" in capsys.readouterr().err


NEED_A_PROJECT = [
    ["report"],
    ["publish"],
    ["bench", "model.tflite", "--preset", "quick"],
    ["list"],
    ["devices", "list"],
    ["farm", "status"],
    ["compose"],
    ["repro", "digits"],
    ["sweep", "seed=1"],
    ["search", "digits", "--within", "size_kb=16", "--target", "90"],
    ["query", "SELECT 1"],
    ["migrate"],
    ["log", "--to", "dvclive"],
    ["sign"],
    ["verify"],
    ["explain", "local/onnx/teacher/fp32"],
    ["compare", "a", "b"],
    ["reproduce", "--all"],
    ["register", "a"],
    ["bundle", "a", "--out", "b"],
    ["submit", "--submitter", "me", "--out", "b"],
    ["deploy", "a@v1.0.0", "--devices", "pi"],
    ["rollback", "--devices", "pi"],
    ["deployed"],
]


def test_the_list_of_commands_that_need_a_project_is_complete() -> None:
    assert {argv[0] for argv in NEED_A_PROJECT} | {"init", "schema", "validate"} == main.command_names()


@pytest.mark.parametrize("argv", NEED_A_PROJECT, ids=" ".join)
def test_a_command_outside_a_project_says_where_to_go_and_writes_nothing(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()  # other programs have such a directory too
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"{tmp_path} is not an edgeproof project.* cd {ROOT}"):
        main.run(argv)
    assert [path.name for path in tmp_path.rglob("*")] == ["conf"]


def test_in_a_subdirectory_of_a_project_the_command_to_its_root_is_shown(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "a/b").mkdir(parents=True)
    monkeypatch.chdir(project / "a/b")
    with pytest.raises(ConfigError, match=f"Go to one: cd {project}, or make one here: edgeproof init$"):
        main.run(["report"])


def test_a_command_outside_a_project_is_one_message_and_exit_code_two(tmp_path: Path) -> None:
    for program in ("main.main", "main.run_sweep"):
        code = f"import sys; sys.argv[1:] = ['list']; from edgeproof.cli import main; {program}()"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_records_that_are_named_can_be_read_without_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "copied").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main.run(["migrate", "--records", "copied"]) == 0
