"""Versions of packages: those that requirements.lock pins or, without that file, the installed ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker

from edgeproof.core.errors import ConfigError

LOCK = Path("requirements.lock")


def require(packages: Mapping[str, str]) -> None:
    """Check that packages are installed in the given versions. Raises ConfigError otherwise."""
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
            "changing requirements.lock or an installed package."
        )


def pin(packages: Sequence[str], lock: Path = LOCK) -> dict[str, str]:
    """Return the exact version of each package: the one in requirements.lock, or the installed one without that file.

    Stages have these versions as parameters, so DVC runs them again after an upgrade. Raises ConfigError for a package
    that is not pinned, or not installed.
    """
    if not lock.exists():
        return {package: _find_installed_version(package) for package in sorted(set(packages))}
    versions = read_versions(lock)
    missing = [package for package in packages if _normalize(package) not in versions]
    if missing:
        raise ConfigError(f"{lock} pins no version of {', '.join(missing)}. Add it there and run 'make setup'.")
    return {package: versions[_normalize(package)] for package in sorted(set(packages))}


def read_versions(lock: Path = LOCK) -> dict[str, str]:
    """Return the version of every package that is pinned for this Python and machine, by its normalized name.

    Raises ConfigError if the file is missing, or if a line's marker is invalid.
    """
    try:
        text = lock.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{lock} is missing from {Path.cwd()}. Run the command in the project's root.") from None
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?:[ \t]*;[ \t]*([^\\\n]+))?", text, re.MULTILINE)
    return {_normalize(name): version for name, version, marker in pins if _applies_here(marker, f"{lock}: {name}")}


def _applies_here(marker: str, place: str) -> bool:
    try:
        return not marker or Marker(marker.strip()).evaluate()
    except ValueError as error:
        raise ConfigError(
            f"{place}: invalid marker: {str(error).splitlines()[0]}. Run 'make lock' to write it."
        ) from None


def _find_installed_version(package: str) -> str:
    try:
        # A local version such as 2.13.0+cpu is a build of the same release.
        return metadata.version(package).split("+")[0]
    except metadata.PackageNotFoundError:
        raise ConfigError(f"the package {package} is not installed. Install it: pip install {package}") from None


def _normalize(name: str) -> str:
    # PEP 503
    return re.sub(r"[-_.]+", "-", name).lower()
