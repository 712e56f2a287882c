"""A stage runs with the packages its study was composed for, or says which differ."""

from __future__ import annotations

from importlib import metadata

import pytest

from edgeproof.config import packages
from edgeproof.core.errors import ConfigError


def test_the_installed_version_is_accepted_with_or_without_its_local_build() -> None:
    version = metadata.version("numpy")
    packages.require({})
    packages.require({"numpy": version})
    packages.require({"numpy": f"{version}+cpu"})


def test_every_difference_is_named_in_one_message_with_the_next_step() -> None:
    with pytest.raises(ConfigError) as caught:
        packages.require({"numpy": "0.0.1", "no-such-package-anywhere": "1.0", "pytest": metadata.version("pytest")})
    message = str(caught.value)
    assert f"numpy is {metadata.version('numpy')}, the study was composed for 0.0.1" in message
    assert "no-such-package-anywhere 1.0 is not installed" in message
    assert "pytest" not in message
    assert "make setup" in message


@pytest.mark.parametrize("near", ["{}.0", "{}rc1", "1{}"])
def test_a_version_that_merely_looks_alike_is_another_version(near: str) -> None:
    with pytest.raises(ConfigError, match="composed for"):
        packages.require({"numpy": near.format(metadata.version("numpy"))})
