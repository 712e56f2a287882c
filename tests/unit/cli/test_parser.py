"""The parser of all commands: nearest names in errors, the version, completion scripts, and a light start."""

from __future__ import annotations

import argparse
import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproof.cli import main, submission
from tests.support.project import ROOT


def read_usage_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main.parse(argv)
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "nearest", "others"),
    [
        (["repor"], "report", ("bench", "publish", "list")),
        (["devices", "lst"], "list", ("add", "doctor")),
        (["farm", "histroy"], "history", ("run", "regressions")),
        (["report", "--format", "latx"], "latex", ("markdown", "parquet")),
        (["submit", "--suite", "tinny"], "tiny", ("inference",)),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_and_all_known_ones(
    argv: list[str], nearest: str, others: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    message = read_usage_error(argv, capsys).partition("error: ")[2]
    assert f"Did you mean '{nearest}'?" in message
    assert all(name in message.partition("Known: ")[2] for name in others)
    assert " --help'." in message


@pytest.mark.parametrize(
    ("words", "suite"), [([], "inference"), (["--suite", "tiny"], "tiny"), (["--flavour", "tiny"], "tiny")]
)
def test_a_submission_is_for_the_named_suite_also_by_its_old_name(words: list[str], suite: str) -> None:
    parser = argparse.ArgumentParser()
    submission.add_commands(parser.add_subparsers())
    arguments = parser.parse_args(["submit", "--submitter", "me", "--out", "x", *words])
    assert arguments.suite == suite


@pytest.mark.parametrize(
    ("argv", "nearest"),
    [
        (["report", "--recrods", "x"], "--records"),
        (["bench", "model.tflite", "--preste=quick"], "--preset"),
        (["devices", "list", "--tga", "x"], "--tag"),
        (["--verison"], "--version"),
        (["--verison", "list"], "--version"),
    ],
)
def test_an_unknown_option_is_answered_with_the_nearest_one(
    argv: list[str], nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = read_usage_error(argv, capsys)
    assert f"Did you mean '{nearest}'?" in message


def test_a_name_that_resembles_nothing_gets_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    message = read_usage_error(["qqqqqq"], capsys)
    assert "Did you mean" not in message
    assert "Known: " in message


@pytest.mark.parametrize(
    "argv",
    [
        ["compare", "a", "b", "--percent", "many"],
        ["compare", "a", "b", "--margin", "none"],
        ["query", "SELECT 1", "--timeout-s", "soon"],
        ["compare", "a", "b", "--percent", "nan"],
        ["query", "SELECT 1", "--timeout-s", "nan"],
    ],
)
def test_the_error_for_a_value_that_is_not_a_number_says_what_is_expected(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    message = read_usage_error(argv, capsys)
    assert "_parse" not in message
    assert "expected a" in message


def test_version_prints_the_installed_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.run(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"edgeproof {importlib.metadata.version('edgeproof')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_completion_script_names_every_command_and_is_accepted_by_its_shell(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main.run(["--print-completion", shell])
    assert ended.value.code == 0
    script = capsys.readouterr().out
    assert all(name in script for name in main.command_names())
    assert "--fail-on" in script
    (tmp_path / "script").write_text(script, encoding="utf-8")
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash on this machine")
def test_bash_completes_a_command_from_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.run(["--print-completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out, encoding="utf-8")
    typed = 'source "$1"; COMP_WORDS=(edgeproof repo); COMP_CWORD=1; _shtab_edgeproof; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", typed, "bash", str(tmp_path / "script")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["report"]


def test_the_help_of_no_command_imports_third_party_modules() -> None:
    helps = [[*command.split(), "--help"] for command in main.list_commands() if command != "sweep"]
    assert len(helps) > 20
    code = (
        "import sys\nbefore = set(sys.modules)\nfrom edgeproof.cli import main\n"
        f"for argv in {helps!r}:\n    try:\n        main.run(argv)\n    except SystemExit:\n        pass\n"
        "print('imported:', *sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(done.stdout.splitlines()[-1].split()[1:])
    assert imported - sys.stdlib_module_names == {"edgeproof"}
