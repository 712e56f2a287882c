"""Runtimes whose packages edgeproof does not always have: no study needs them, and users install them on demand.

They are an extra of edgeproof, which the runtime's file names in EXTRA, or those of a plugin, which pins them in its
YAML file. Without them the runtime's rows are 'unsupported', with the command that installs them. The versions of
extras are in requirements-runtimes.lock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from edgeproof.config import packages
from edgeproof.config.params import ExportParams
from edgeproof.core import plugins
from edgeproof.paths import name_artifact


def find_extra(runtime: str) -> str | None:
    """Return the extra that holds a runtime's packages, or None if edgeproof always has them."""
    extra: str | None = getattr(plugins.load("runtimes", runtime), "EXTRA", None)
    return extra


def pin_for_export(runtime: str, names: Sequence[str]) -> dict[str, str]:
    """Return the versions on which the export for a runtime depends.

    These are the pinned versions. If a package may be missing, and it is missing or has another version, the version is
    followed by a text that says so. The text goes away when the package is installed, so the export then runs again.
    """
    pinned = packages.pin(names)
    differing = [name for name in _list_optional(runtime, pinned) if packages.describe_difference(name, pinned[name])]
    return pinned | {name: f"{pinned[name]} (found: {packages.describe_installed(name)})" for name in differing}


def explain_absence(runtime: str, versions: Mapping[str, str]) -> str | None:
    """Return why this Python can't use a runtime, or None if its packages are installed.

    `versions` are the parameters of a stage. Raises ConfigError if a package is missing that edgeproof always has.
    """
    extra = find_extra(runtime)
    pinned = {name: version.partition(" ")[0] for name, version in versions.items()}
    optional = _list_optional(runtime, pinned)
    packages.require({name: version for name, version in pinned.items() if name not in optional})
    differences = {name: packages.describe_difference(name, version) for name, version in pinned.items()}
    missing = {name: difference for name, difference in differences.items() if difference is not None}
    if not missing:
        return None
    wanted = f"'edgeproof[{extra}]'" if extra else " ".join(f"{name}=={pinned[name]}" for name in missing)
    return f"{'; '.join(missing.values())}. Install the runtime: pip install {wanted}"


def refuse_artifacts(item: ExportParams) -> dict[str, str]:
    """Return the reason of explain_absence() by the name of each artifact, or {} if the runtime can be used.

    Raises ConfigError as explain_absence() does.
    """
    reason = explain_absence(item.runtime, item.packages)
    if reason is None:
        return {}
    return {name_artifact(scheme, item.seeds, seed): reason for scheme in item.schemes for seed in item.seeds}


def _list_optional(runtime: str, names: Collection[str]) -> list[str]:
    """Return the packages that may be missing: all of an extra, else those that edgeproof does not always have."""
    return [name for name in names if find_extra(runtime) is not None or not packages.is_always_installed(name)]
