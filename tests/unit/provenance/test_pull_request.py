"""Summarize what changed in a table since another revision, and post it on a pull request."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeproof.cli import main
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.provenance.pull_request import MAX_LINES, format_summary
from edgeproof.provenance.table_changes import compare_tables
from edgeproof.report.row import Row
from edgeproof.report.row_data import describe_rows
from tests.support.command_blocks import find_block
from tests.support.example_rows import CONDITIONS, about, row
from tests.support.project import ROOT

TABLE = Path("results/tables/table.json")
WORKFLOW = ROOT / "docs/workflows/pull_request.yml"
BEFORE = [
    row(p50_ns=about(1e5, 0.01)),
    row("student", p50_ns=about(5e4, 0.01), size_bytes=2048),
    row("student", "int8", p50_ns=about(4e4, 0.01)),
    row("old"),
    row("fragile"),
]
AFTER = [
    row(p50_ns=about(1.2e5, 0.01), measured_at="later"),
    row("student", p50_ns=about(4e4, 0.01), size_bytes=1024, artifact_sha256="1" * 64),
    row("student", "int8", p50_ns=about(4.01e4, 0.01)),
    row("new"),
    row("fragile", verdict="invalid", reasons=("single_stream 0: @someone ![x](http://y) <b>| `late`",), p50_ns=None),
]


def write_table(rows: Sequence[Row]) -> None:
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(json.dumps(describe_rows(rows, study="study")), encoding="utf-8")


def git(*words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *identity, *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with the table BEFORE on main, which is the working directory. A branch is checked out."""
    monkeypatch.chdir(tmp_path)
    write_table(BEFORE)
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "work")
    return tmp_path


def summarize(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main.run(["report", "pr", *options, "--table", str(TABLE)]) == 0
    return capsys.readouterr().out


def find_line(text: str, cell: str) -> str:
    return next(line for line in text.splitlines() if line.startswith((f"| `{cell}`", f"- `{cell}`")))


def test_the_summary_counts_and_shows_every_kind_of_change(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(AFTER)
    text = summarize(capsys)
    assert text.startswith(
        f"### edgeproof: `results/tables/table.json` against `main ({git('rev-parse', 'main')[:7]})`"
    )
    assert "- **p50**: 1 slower, 1 faster, 1 no difference shown, 1 not compared" in text
    assert "- **file size**: 0 larger, 1 smaller, 3 same" in text
    assert "- **cells**: 1 new, 1 gone, 1 with another verdict" in text
    assert "×1.200 [1.183, 1.217], **slower** (same artifact)" in find_line(text, "local/onnx/teacher/fp32")
    student = find_line(text, "local/onnx/student/fp32")
    assert "×0.800 [0.789, 0.811], **faster** |" in student
    assert "2.0 → 1.0<br>-50.0%, **smaller**" in student
    changed, _, unchanged = text.partition("<details>")
    assert "local/onnx/student/int8" in unchanged
    assert "local/onnx/student/int8" not in changed
    assert find_line(text.partition("#### New")[2], "local/onnx/new/fp32")
    assert find_line(text.partition("#### Gone")[2], "local/onnx/old/fp32")


def test_text_of_a_table_never_becomes_markup_or_a_mention(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(AFTER)
    line = find_line(summarize(capsys).partition("#### Another verdict")[2], "local/onnx/fragile/fp32")
    reason = "`single_stream 0: @someone ![x](http://y) <b>¦ 'late'`"
    assert line == f"- `local/onnx/fragile/fp32`: `valid` → `invalid` ({reason})"


def test_other_conditions_are_listed_and_stop_the_comparison_of_times(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conditions = {**CONDITIONS, "kernel": "7"}
    write_table([row(p50_ns=about(9e5), conditions=conditions), *BEFORE[1:]])
    text = summarize(capsys)
    assert "The times of 1 cell(s) were measured under other conditions, so they are not compared." in text
    assert "- `kernel: 6.1 → 7`" in text
    assert "- **p50**: 0 slower, 0 faster, 1 not compared" in text


def test_commits_that_main_has_and_the_branch_has_not_are_not_changes(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git("checkout", "-q", "main")
    write_table(AFTER)
    git("commit", "-qam", "two")
    git("checkout", "-q", "work")
    assert "No cell changed. The table has 5 cells." in summarize(capsys)


def test_without_a_table_on_the_other_side_every_cell_is_new(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git("rm", "-q", "--cached", str(TABLE))
    git("commit", "-qm", "two")
    text = summarize(capsys, "--against", "HEAD")
    assert "which has no such table" in text
    assert "- **cells**: 5 new" in text


def test_a_file_can_be_written(checkout: Path) -> None:
    assert main.run(["report", "pr", "--table", str(TABLE.absolute()), "--out", "summary.md"]) == 0
    assert "No cell changed" in Path("summary.md").read_text(encoding="utf-8")


def test_the_commands_in_docs_publishing_md_work(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("conf/runtimes").mkdir(parents=True)
    Path("conf/config.yaml").touch()
    git("update-ref", "refs/remotes/origin/main", "main")
    write_table(AFTER)
    for words in find_block("publishing.md", "edgeproof report pr").list_edgeproof_arguments():
        assert main.run(words) == 0
    printed = capsys.readouterr().out
    assert find_line(printed, "local/onnx/new/fp32") in Path("summary.md").read_text(encoding="utf-8")


def test_wrong_arguments_name_what_is_allowed(checkout: Path) -> None:
    with pytest.raises(EdgeproofError, match="git has no revision 'mian'"):
        main.run(["report", "pr", "--against", "mian", "--table", str(TABLE)])
    with pytest.raises(EdgeproofError, match="git has no revision '--output=x'"):
        main.run(["report", "pr", "--against=--output=x", "--table", str(TABLE)])
    with pytest.raises(ConfigError, match=r"takes --against, --table and --out only\. Leave out --columns"):
        main.run(["report", "pr", "--columns", "p50", "--table", str(TABLE)])
    with pytest.raises(ConfigError, match="--against belongs to 'edgeproof report pr'"):
        main.run(["report", "--against", "main", "--table", str(TABLE)])
    with pytest.raises(ConfigError, match="a report cannot be called 'pr'"):
        main.run(["report", "--save", "pr", "--table", str(TABLE)])
    TABLE.write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"is not a table\.json"):
        main.run(["report", "pr", "--table", str(TABLE)])


def test_a_long_summary_fits_into_a_comment() -> None:
    before = [row(f"a_model_with_a_long_name_{n}", artifact_sha256="0") for n in range(300)]
    after = [row(each.model, p50_ns=about(1e5 * (1 + n % 3)), measured_at="later") for n, each in enumerate(before)]
    refused = [row(f"refused_{n}", verdict="invalid", reasons=("x" * 5000,)) for n in range(200)]
    valid = [row(each.model) for each in refused]
    text = format_summary(compare_tables([*before, *valid], [*after, *refused]), table="t", against="main")
    assert len(text) < 65_000
    assert f"and {300 - 100 - MAX_LINES} more." in text


@pytest.fixture(scope="module")
def steps() -> list[dict[str, Any]]:
    workflow = yaml.load(WORKFLOW.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert list(workflow["on"]) == ["pull_request"]
    (job,) = workflow["jobs"].values()
    return list(job["steps"])


def test_the_workflow_puts_no_text_of_a_pull_request_into_a_script(steps: list[dict[str, Any]]) -> None:
    assert all("${{" not in step.get("run", "") for step in steps)
    (checkout,) = (step for step in steps if step.get("uses", "").startswith("actions/checkout"))
    assert checkout["with"]["fetch-depth"] == "0"


def test_the_workflow_summarizes_and_updates_one_comment(
    checkout: Path, steps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    summarize_step, comment_step = (step for step in steps if "env" in step)
    command = next(line for line in summarize_step["run"].splitlines() if line.startswith("edgeproof"))
    arguments = main.parse([word.strip('"') for word in command.split()[1:]])
    assert (arguments.name, arguments.against, arguments.out) == ("pr", "origin/$BASE", Path("summary.md"))
    Path("summary.md").write_text("what changed\n")
    Path("bin").mkdir()
    program = Path("bin/gh")
    program.write_text('#!/bin/sh\necho "$@" >> calls\ncase "$*" in *--jq*) cat ids ;; esac\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    environment = {**os.environ, "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}"}
    environment |= {"NUMBER": "7", "GITHUB_REPOSITORY": "me/project"}
    for ids in ("", "41\n42\n"):
        Path("ids").write_text(ids)
        subprocess.run(["bash", "-e", "-c", comment_step["run"]], env=environment, check=True)
    calls = [line for line in Path("calls").read_text().splitlines() if "--jq" not in line and ".[]" not in line]
    assert calls == [
        "pr comment 7 --body-file comment.md",
        "api --method PATCH repos/me/project/issues/comments/41 --field body=@comment.md",
    ]
    assert Path("comment.md").read_text() == "<!-- edgeproof -->\nwhat changed\n"
