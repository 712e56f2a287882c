"""The command line: what it prints, what it writes, and what it leaves alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeproof.cli import main
from edgeproof.config import compose
from edgeproof.core import plugins
from edgeproof.core.errors import EdgeproofError
from tests.unit.conftest import ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what composing reads, so that nothing of the project itself is written."""
    for name in ("conf", "devices"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copyfile(ROOT / "requirements.lock", tmp_path / "requirements.lock")
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_composing_to_the_screen_writes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["compose", "--print", "study=digits"]) == 0
    assert capsys.readouterr().out == compose.dump(compose.compose("digits"))
    assert not (project / "params.yaml").exists()


def test_composing_writes_params_that_tell_their_command(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["compose", "study=digits", "seed=3"]) == 0
    text = (project / "params.yaml").read_text(encoding="utf-8")
    assert "'edgeproof compose study=digits seed=3'" in text.partition("\n")[0]
    assert text.partition("\n")[2] == compose.dump(compose.compose("digits", ["seed=3"]))
    assert "study 'digits'" in capsys.readouterr().out


def test_listing_names_every_study_device_and_plugin(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["list"]) == 0
    lines = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert lines["studies"].split(", ") == sorted(path.stem for path in (ROOT / "conf/study").glob("*.yaml"))
    assert lines["devices"].split(", ") == sorted(path.stem for path in (ROOT / "devices").glob("*.yaml"))
    assert set(plugins.SINGULAR) <= set(lines)
    assert "null" in lines["runtimes"].split(", ")


@pytest.mark.parametrize("argv", [[], ["compse"], ["list", "--all"]])
def test_a_command_that_does_not_exist_ends_with_its_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
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
def test_repro_takes_a_study_or_none_and_then_overrides(
    monkeypatch: pytest.MonkeyPatch, words: list[str], study: str | None, overrides: list[str]
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(main.studies, "repro", lambda *given: asked.append(given) or 0)
    assert main.run(["repro", *words]) == 0
    assert asked == [(study, overrides)]


def test_validating_a_directory_without_a_submission_lists_what_is_missing_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["validate", str(tmp_path)]) == 1
    *problems, last = capsys.readouterr().out.splitlines()
    assert problems
    assert last == f"{tmp_path}: {len(problems)} problem(s)"


def test_submitting_without_official_records_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    argv = ["submit", "--submitter", "me", "--records", str(tmp_path / "records"), "--out", str(tmp_path / "out")]
    with pytest.raises(EdgeproofError):
        main.run(argv)
    assert not (tmp_path / "out").exists()
