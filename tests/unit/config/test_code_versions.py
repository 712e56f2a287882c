"""Stages of a project depend on the code of edgeproof and on plugins through hashes and files in params.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edgeproof.config import code_versions
from edgeproof.config.code_versions import describe_code, describe_plugins
from edgeproof.core import plugins
from edgeproof.core.directories import hash_file
from tests.support.project import ROOT

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.fixture
def own_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/config.yaml").touch()
    (tmp_path / "plugins/networks").mkdir(parents=True)
    (tmp_path / "plugins/networks/own.py").write_text('"""Mine."""\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("models/training.py", {"model", "export"}),
        ("runner/loadgen.py", {"bench"}),
        ("report/tables.py", {"report"}),
        ("core/errors.py", {"prepare", "model", "export", "bench", "report"}),
    ],
)
def test_a_changed_module_changes_the_hashes_of_the_stages_that_import_it(
    module: str, stages: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = describe_code()
    changed = ROOT / "edgeproof" / module
    monkeypatch.setattr(code_versions, "hash_file", lambda path: "0" * 64 if path == changed else hash_file(path))
    code_versions._hash_stages.cache_clear()
    after = describe_code()
    code_versions._hash_stages.cache_clear()
    assert {name for name in after if after[name] != before[name]} == stages


def test_every_kind_of_stage_has_a_hash() -> None:
    model_stages = {"train", "distill", "prune", "quantize"}
    assert set(code_versions.STAGES.values()) == set(PIPELINE) - model_stages | {"train"}


def test_an_own_plugin_is_a_file_and_an_installed_one_a_hash(own_project: Path) -> None:
    used = {"network": ("networks", "own"), "method": ("methods", "train")}
    described = describe_plugins(used, "data/t/build")
    assert described["files"] == {"network": "plugins/networks/own.py", "method": "data/t/build"}
    (own_project / "plugins/networks/own.py").write_text('"""Changed."""\n')
    assert describe_plugins(used, "data/t/build") == described  # DVC sees the file itself
    other = describe_plugins({**used, "method": ("methods", "distill")}, "data/t/build")
    assert other["sha256"] != described["sha256"]


def test_an_installed_distribution_brings_plugins_and_definitions(
    own_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    for name in ("brought_networks/networks", "brought_networks/conf/networks", "brought-1.dist-info"):
        (site / name).mkdir(parents=True)
    (site / "brought_networks/__init__.py").touch()
    (site / "brought_networks/networks/theirs.py").write_text("NUMBER = 7\n")
    (site / "brought_networks/networks/own.py").write_text("NUMBER = 8\n")
    (site / "brought-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1\n")
    (site / "brought-1.dist-info/entry_points.txt").write_text("[edgeproof.plugins]\nbrought = brought_networks\n")
    monkeypatch.syspath_prepend(site)
    plugins.list_package_roots.cache_clear()
    try:
        assert plugins.load("networks", "theirs").NUMBER == 7
        assert plugins.find_source("networks", "own") == own_project / "plugins/networks/own.py"
        from edgeproof.config.conf_files import list_conf_directories

        assert list_conf_directories(Path("conf")) == [ROOT / "conf", site / "brought_networks/conf", Path("conf")]
    finally:
        plugins.list_package_roots.cache_clear()
