"""Versions of packages: those that the lock files pin or, without requirements.lock, the installed ones."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgeproof.core.errors import ConfigError, summarize_error

NOTHING = "nothing"  # the version of a package that is not installed
LOCK = Path("requirements.lock")
RUNTIMES_LOCK = "requirements-runtimes.lock"  # beside it: further packages, of the runtimes that are extras


def require(packages: Mapping[str, str]) -> None:
    """Check that packages are installed in the given versions. Raises ConfigError otherwise."""
    problems = [problem for name in packages if (problem := describe_difference(name, packages[name]))]
    if problems:
        raise ConfigError(
            f"{'; '.join(problems)}. Run 'make setup' to install the locked versions, or 'edgeproof compose' after "
            "changing requirements.lock or an installed package."
        )


def describe_difference(name: str, version: str) -> str | None:
    """Return how a package differs from the given version: not installed, or another one. None if it does not."""
    installed = describe_installed(name)
    if installed == NOTHING:
        return f"{name} {version} is not installed"
    if installed == version.split("+")[0]:
        return None
    return f"{name} is {installed}, the study was composed for {version}"


def describe_installed(name: str) -> str:
    """Return the installed version of a package, or NOTHING."""
    try:
        # A local version such as 2.13.0+cpu is a build of the same release.
        return metadata.version(name).split("+")[0]
    except metadata.PackageNotFoundError:
        return NOTHING


def is_always_installed(name: str, lock: Path = LOCK) -> bool:
    """Return whether edgeproof always has a package: it is in the lock or, without one, among its requirements."""
    if lock.exists():
        return canonicalize_name(name) in read_versions(lock)
    return any("extra" not in str(requirement.marker or "") for requirement in _list_requirements(name))


def pin(packages: Sequence[str], lock: Path = LOCK) -> dict[str, str]:
    """Return the exact version of each package: the one in the lock files, or the installed one without `lock`.

    requirements-runtimes.lock beside `lock` is read too. Without a lock, a package that is missing here has the version
    that edgeproof requires. A plugin's YAML file may pin a package that the lock lacks: 'name==1.2'.
    Stages have these versions as parameters, so DVC runs them again after an upgrade. Raises ConfigError for a package
    that is not pinned, not installed, or pinned twice with different versions.
    """
    own = dict(package.split("==", 1) for package in packages if "==" in package)
    names = sorted({package for package in packages if "==" not in package} - own.keys())
    if not lock.exists():
        return {name: _find_installed_version(name) for name in names} | own
    versions = read_all_versions(lock)
    for name, version in own.items():
        locked = versions.get(canonicalize_name(name), version)
        if locked != version:
            raise ConfigError(
                f"{name} is pinned as {version} in a plugin's YAML file and as {locked} in {lock}. "
                "Leave the version out of the YAML file."
            )
    missing = [name for name in names if canonicalize_name(name) not in versions]
    if missing:
        raise ConfigError(
            f"{lock} pins no version of {', '.join(missing)}. Pin it in the plugin's YAML file, such as "
            f"{missing[0]}==1.2, or in pyproject.toml, and run 'make lock' and 'make setup'."
        )
    return {name: versions[canonicalize_name(name)] for name in names} | own


def read_all_versions(lock: Path = LOCK) -> dict[str, str]:
    """Return the versions that read_versions() finds in `lock` and, if it is there, in requirements-runtimes.lock."""
    further = lock.with_name(RUNTIMES_LOCK)
    return {**(read_versions(further) if further.exists() else {}), **read_versions(lock)}


def read_versions(lock: Path = LOCK) -> dict[str, str]:
    """Return the version of every package that is pinned for this Python and machine, by its normalized name.

    Raises ConfigError if the file is missing, or if a line's marker is invalid.
    """
    try:
        text = lock.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{lock} is missing from {Path.cwd()}. Run the command in the project's root.") from None
    return dict(_parse_versions(text, str(lock)))


@functools.lru_cache(maxsize=8)
def _parse_versions(text: str, lock: str) -> dict[str, str]:
    """Parse a lock file once, because each stage of a study asks for its versions."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?:[ \t]*;[ \t]*([^\\\n]+))?", text, re.MULTILINE)
    return {
        canonicalize_name(name): version for name, version, marker in pins if _applies_here(marker, f"{lock}: {name}")
    }


def _applies_here(marker: str, place: str) -> bool:
    try:
        return not marker or Marker(marker.strip()).evaluate()
    except ValueError as error:
        raise ConfigError(f"{place}: invalid marker: {summarize_error(error)}. Run 'make lock' to write it.") from None


def _find_installed_version(package: str) -> str:
    if (installed := describe_installed(package)) != NOTHING:
        return installed
    required = _find_required_version(package)
    if required is None:
        raise ConfigError(f"the package {package} is not installed. Install it: pip install {package}")
    return required


def _find_required_version(package: str) -> str | None:
    """Return the exact version of a package in edgeproof's own requirements, extras included, or None."""
    for requirement in _list_requirements(package):
        if exact := [part.version for part in requirement.specifier if part.operator == "=="]:
            return exact[0]
    return None


def _list_requirements(package: str) -> list[Requirement]:
    """Return edgeproof's own requirements of a package, extras included."""
    own = map(Requirement, metadata.requires("edgeproof") or ())
    return [requirement for requirement in own if canonicalize_name(requirement.name) == canonicalize_name(package)]
