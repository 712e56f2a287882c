"""`edgeproof init` writes a project that composes, and never overwrites a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproof.cli import main
from edgeproof.config import compose, params_file
from edgeproof.core import plugins
from edgeproof.core.errors import EdgeproofError
from edgeproof.project.init import init
from edgeproof.study.git import run_git


@pytest.fixture(autouse=True)
def without_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("projects") / "mine"
    init(directory)
    return directory


def list_files(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def test_a_new_project_is_a_git_and_a_dvc_repository_with_its_composition(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert run_git("rev-parse", "--show-toplevel") == str(project.resolve())
    assert (project / ".dvc/config").is_file()
    assert params_file.read_params() == compose.compose()
    assert not params_file.is_edited_by_hand()


def test_the_projects_own_plugins_and_study_come_before_those_of_edgeproof(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert compose.read_default_study() == "my_study"
    assert {"my_study", "digits"} <= set(compose.list_studies())
    for kind in ("tasks", "networks", "methods"):
        own = sorted((project / "plugins" / kind).glob("*.py"))
        assert [plugins.find_source(kind, path.stem).resolve() for path in own] == [path.resolve() for path in own]
    assert plugins.load("networks", "my_network").KIND == "image_classifier"
    assert plugins.load("networks", "mlp").__name__ == "edgeproof.networks.mlp"


def test_a_definition_of_the_project_replaces_the_one_of_edgeproof(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    own = project / "conf/networks/mlp.yaml"
    own.write_text("options:\n  hidden: [7]\n")
    try:
        params = compose.compose("my_study", ["models.teacher.network=mlp", "~models.teacher.network_options"])
    finally:
        own.unlink()
    assert params.train["teacher"].network_options == {"hidden": [7]}


def test_a_directory_without_a_configuration_loads_no_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugins/networks").mkdir(parents=True)
    (tmp_path / "plugins/networks/other.py").write_text("raise SystemExit('loaded')")
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "other" not in plugins.list_names("networks")


@pytest.mark.parametrize("name", ["dvc.yaml", "conf/study/my_study.yaml", "params.yaml"])
def test_a_file_in_the_way_is_named_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(EdgeproofError, match=f"already has {name}.*Nothing was written"):
        init(tmp_path)
    assert list_files(tmp_path) == {name}
    assert path.read_text() == "mine"


def test_a_file_in_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(EdgeproofError, match=r"is a file\. Name a directory: edgeproof init DIR"):
        init(path)


def test_an_existing_repository_keeps_its_readme_and_its_ignored_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_git("init", "--quiet")
    (tmp_path / "README.md").write_text("Mine.\n")
    (tmp_path / ".gitignore").write_text("secret\n/data/\n")
    assert main.run(["init"]) == 0
    assert (tmp_path / "README.md").read_text() == "Mine.\n"
    ignored = (tmp_path / ".gitignore").read_text().splitlines()
    assert ignored[:2] == ["secret", "/data/"]
    assert len(ignored) == len(set(ignored))
    assert {".edgeproof/", "/models/"} <= set(ignored)
    assert "Run the study: edgeproof repro" in capsys.readouterr().out
