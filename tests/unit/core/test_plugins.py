"""Lookup of plugins in the package's directories and in those of EDGEPROOF_PLUGINS."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeproof.core import plugins
from edgeproof.core.errors import UnknownNameError

PACKAGE = Path(plugins.__file__).parents[1]


@pytest.mark.parametrize("kind", plugins.SINGULAR)
def test_the_plugins_of_a_kind_are_the_files_of_its_directory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    assert plugins.list_names(kind) == sorted(
        p.stem for p in (PACKAGE / kind).glob("*.py") if not p.stem.startswith("_")
    )


def test_the_error_for_an_unknown_plugin_lists_names_suggests_the_nearest_and_names_the_files_to_add() -> None:
    with pytest.raises(UnknownNameError) as caught:
        plugins.load("runtimes", "onx")
    message = str(caught.value)
    assert "unknown runtime 'onx'" in message
    assert "Did you mean 'onnx'?" in message
    assert "openvino" in message
    assert "edgeproof/runtimes/onx.py" in message
    assert "conf/runtimes/onx.yaml" in message


@pytest.mark.parametrize("name", ["", ".", "..", "../core/errors", "__init__", "null.py", "os", "edgeproof"])
def test_a_name_that_is_not_a_plugin_is_unknown(name: str) -> None:
    with pytest.raises(UnknownNameError):
        plugins.load("runtimes", name)


def test_a_file_outside_the_package_is_a_plugin_and_its_source_is_found(plugin_root: Path) -> None:
    path = plugin_root / "runtimes" / "abacus.py"
    path.write_text("BEADS = 10\n")
    assert "abacus" in plugins.list_names("runtimes")
    assert plugins.load("runtimes", "abacus").BEADS == 10
    assert plugins.find_source("runtimes", "abacus") == path


def test_a_plugin_outside_the_package_takes_precedence_over_one_inside(plugin_root: Path) -> None:
    (plugin_root / "runtimes" / "null.py").write_text("OUTSIDE = True\n")
    assert plugins.load("runtimes", "null").OUTSIDE is True
    assert plugins.find_source("runtimes", "null").parent == plugin_root / "runtimes"


def test_a_plugin_outside_the_package_is_executed_once(plugin_root: Path) -> None:
    (plugin_root / "runtimes" / "abacus.py").write_text("STATE = []\n")
    plugins.load("runtimes", "abacus").STATE.append(1)
    assert plugins.load("runtimes", "abacus").STATE == [1]


def test_two_directories_may_each_have_a_plugin_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "runtimes").mkdir(parents=True)
        (tmp_path / name / "runtimes" / "abacus.py").write_text(f"place = {name!r}\n")
    for name in ("a", "b"):
        monkeypatch.setenv("EDGEPROOF_PLUGINS", str(tmp_path / name))
        plugin = plugins.load("runtimes", "abacus")
        assert plugin.place == name


def test_a_plugin_that_fails_to_import_fails_every_time(plugin_root: Path) -> None:
    (plugin_root / "runtimes" / "broken.py").write_text("FIRST = 1\nraise RuntimeError('broken at line two')\n")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="line two"):
            plugins.load("runtimes", "broken")


def test_private_files_and_missing_directories_provide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runtimes").mkdir()
    (tmp_path / "runtimes" / "_private.py").write_text("")
    monkeypatch.setenv("EDGEPROOF_PLUGINS", f"{tmp_path}:{tmp_path / 'nowhere'}:")
    assert "_private" not in plugins.list_names("runtimes")
    assert plugins.list_external_roots() == [tmp_path, tmp_path / "nowhere"]


def test_the_source_of_a_plugin_in_the_package_is_its_file() -> None:
    assert plugins.find_source("runtimes", "null") == PACKAGE / "runtimes" / "null.py"


def test_the_source_of_an_unknown_plugin_raises_the_same_error() -> None:
    with pytest.raises(UnknownNameError, match="unknown runtime"):
        plugins.find_source("runtimes", "nothing_like_it")


def test_listing_plugins_imports_none_of_them(plugin_root: Path) -> None:
    (plugin_root / "runtimes" / "bomb.py").write_text("raise SystemExit\n")
    assert "bomb" in plugins.list_names("runtimes")
    assert "edgeproof_plugins.runtimes.bomb" not in sys.modules
