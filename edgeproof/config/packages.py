"""Whether the packages that a stage was composed for are the ones installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from edgeproof.core.errors import ConfigError


def require(packages: Mapping[str, str]) -> None:
    """Raises ConfigError when a package is missing or has another version than the study was composed for."""
    problems = []
    for name, version in packages.items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            problems.append(f"{name} {version} is not installed")
            continue
        # A local version such as 2.13.0+cpu is a build of the same release.
        if installed.split("+")[0] != version.split("+")[0]:
            problems.append(f"{name} is {installed}, the study was composed for {version}")
    if problems:
        raise ConfigError(
            f"{'; '.join(problems)}. Run 'make setup' to install the locked versions, or 'edgeproof compose' after "
            "changing requirements.lock."
        )
