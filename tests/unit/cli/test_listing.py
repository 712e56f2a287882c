"""`edgeproof list`: one line of description for each study, device and plugin, read without importing anything."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from edgeproof.cli import listing, main
from edgeproof.core import plugins
from tests.support.project import ROOT


@pytest.fixture
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)


def read_groups(text: str) -> dict[str, dict[str, str]]:
    """Return the printed descriptions: group to name to description."""
    groups: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if not line.startswith(" "):
            group = groups[line.partition(":")[0]] = {}
        else:
            name, _, description = line.strip().partition(" ")
            group[name] = description.strip()
    return groups


@pytest.mark.usefixtures("_in_project")
def test_list_names_every_study_device_and_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["list"]) == 0
    groups = read_groups(capsys.readouterr().out)
    assert list(groups) == ["studies", "devices", *plugins.SINGULAR]
    assert list(groups["studies"]) == sorted(path.stem for path in (ROOT / "conf/study").glob("*.yaml"))
    assert list(groups["devices"]) == sorted(path.stem for path in (ROOT / "devices").glob("*.yaml"))
    for kind in plugins.SINGULAR:
        assert set(groups[kind]) == {
            path.stem for path in (ROOT / "edgeproof" / kind).iterdir() if path.suffix == ".py" and path.stem[0] != "_"
        }
        for name, description in groups[kind].items():
            text = (ROOT / "edgeproof" / kind / f"{name}.py").read_text(encoding="utf-8")
            assert description == (ast.get_docstring(ast.parse(text)) or "").splitlines()[0]
    assert all(description for group in groups.values() for description in group.values())


@pytest.mark.usefixtures("_in_project")
def test_list_imports_no_plugin_and_survives_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "explode.py").write_text('"""Make a bang.\n\nMore.\n"""\nraise SystemExit(9)\n')
    (tmp_path / "methods" / "broken.py").write_text("def (:\n")
    (tmp_path / "methods" / "binary.py").write_bytes(b"\x00\xff")
    (tmp_path / "methods" / "silent.py").write_text("x = 1\n")
    monkeypatch.setenv("EDGEPROOF_PLUGINS", str(tmp_path))
    assert main.run(["list"]) == 0
    methods = read_groups(capsys.readouterr().out)["methods"]
    assert methods["explode"] == "Make a bang."
    assert methods["broken"] == methods["binary"] == listing.UNREADABLE
    assert methods["silent"] == ""
    assert not [name for name in sys.modules if name.startswith("edgeproof_plugins.methods.explode")]


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("# @package _global_\n# The quick study.\nx: 1\n", "The quick study."),
        ("\n#\n#   Indented.\n", "Indented."),
        ("x: 1\n# too late\n", ""),
        ("", ""),
        ("# One sentence. The second goes on\n# here.\n", "One sentence."),
        ("# Only half a sentence\n# and the rest.\n", "Only half a sentence"),
    ],
)
def test_a_yaml_file_is_described_by_its_first_comment(text: str, description: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    assert listing.describe_yaml(path) == description


def test_an_unreadable_file_is_listed_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"# \xff\xfe\n")
    assert listing.describe_yaml(tmp_path / "a.yaml") == listing.UNREADABLE
    assert listing.describe_yaml(tmp_path / "missing.yaml") == listing.UNREADABLE
    assert listing.describe_module(tmp_path / "missing.py") == listing.UNREADABLE
