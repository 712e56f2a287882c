"""The versions of packages: pinned by requirements.lock, and checked before a stage runs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from edgeproof.config import packages
from edgeproof.core.errors import ConfigError


def test_the_installed_version_is_accepted_with_and_without_its_local_build() -> None:
    version = metadata.version("numpy")
    packages.require({})
    packages.require({"numpy": version})
    packages.require({"numpy": f"{version}+cpu"})


def test_one_error_lists_every_difference_and_the_next_command() -> None:
    with pytest.raises(ConfigError) as failure:
        packages.require({"numpy": "0.0.1", "no-such-package-anywhere": "1.0", "pytest": metadata.version("pytest")})
    message = str(failure.value)
    assert f"numpy is {metadata.version('numpy')}, the study was composed for 0.0.1" in message
    assert "no-such-package-anywhere 1.0 is not installed" in message
    assert "pytest" not in message
    assert "make setup" in message


@pytest.mark.parametrize("near", ["{}.0", "{}rc1", "1{}"])
def test_a_similar_version_is_a_different_version(near: str) -> None:
    with pytest.raises(ConfigError, match="composed for"):
        packages.require({"numpy": near.format(metadata.version("numpy"))})


def test_the_error_for_a_package_that_is_not_pinned_names_it(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("Some_Package==1.0\n# other==2.0\n")
    assert packages.pin(["some.package"], lock) == {"some.package": "1.0"}
    with pytest.raises(ConfigError, match="pins no version of other"):
        packages.pin(["other"], lock)


def test_a_version_counts_where_its_marker_is_true(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "both==1 \\\n    --hash=sha256:00\n"
        "here==1.5 ; python_version >= '3.11' and sys_platform == 'linux' \\\n    --hash=sha256:00 \\\n"
        "    --hash=sha256:01\n"
        "here==2.5; python_version < '3.11' \\\n    --hash=sha256:00\n"
        "elsewhere==3 ; sys_platform == 'win32'\n"
    )
    assert packages.read_versions(lock) == {"both": "1", "here": "1.5"}
    with pytest.raises(ConfigError, match="pins no version of elsewhere"):
        packages.pin(["elsewhere"], lock)


@pytest.mark.parametrize("marker", ["python", "python_version <", "no_such_name == '1'", "extra == 'x' and"])
def test_an_invalid_marker_is_an_error_that_names_the_package(marker: str, tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"good==1\nbad==1 ; {marker}\n")
    with pytest.raises(ConfigError, match=r"requirements\.lock: bad: invalid marker.*make lock"):
        packages.read_versions(lock)


def test_without_a_lock_the_installed_versions_are_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert packages.pin(["pytest"]) == {"pytest": pytest.__version__}
    with pytest.raises(
        ConfigError, match=r"no-such-package is not installed\. Install it: pip install no-such-package"
    ):
        packages.pin(["no-such-package"])


def test_a_plugins_own_pin_stands_beside_the_lock_and_may_not_differ_from_it(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==2.0 \\\n    --hash=sha256:00\n")
    assert packages.pin(["engine==1.5", "numpy"], lock) == {"numpy": "2.0", "engine": "1.5"}
    assert packages.pin(["numpy==2.0"], lock) == {"numpy": "2.0"}
    with pytest.raises(ConfigError, match=r"numpy is pinned as 1\.9 in a plugin's YAML file and as 2\.0 in "):
        packages.pin(["numpy==1.9"], lock)
    assert packages.pin(["engine==1.5"], tmp_path / "no.lock") == {"engine": "1.5"}
