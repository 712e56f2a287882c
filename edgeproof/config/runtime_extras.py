"""Runtimes whose packages are an optional extra of edgeproof: no study needs them, and users install them on demand.

The file of such a runtime names the extra in EXTRA. Without its packages the runtime's rows are 'unsupported', with the
command that installs them. The versions are in requirements-runtimes.lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

    These are the pinned versions. If a package of an extra is missing or has another version, a text says so in place
    of the version. It changes when the package is installed, so the export then runs again.
    """
    pinned = packages.pin(names)
    if find_extra(runtime) is None:
        return pinned
    return {name: packages.describe_difference(name, version) or version for name, version in pinned.items()}


def explain_absence(runtime: str, versions: Mapping[str, str]) -> str | None:
    """Return why this Python can't use a runtime of an extra, or None if its packages are installed.

    `versions` are the parameters of a stage. Raises ConfigError if a package of a runtime without an extra is missing.
    """
    extra = find_extra(runtime)
    if extra is None:
        packages.require(versions)
        return None
    pinned = packages.pin(list(versions))
    problems = [problem for name in pinned if (problem := packages.describe_difference(name, pinned[name]))]
    if not problems:
        return None
    return f"{'; '.join(problems)}. Install the runtime: pip install 'edgeproof[{extra}]'"


def refuse_artifacts(item: ExportParams) -> dict[str, str]:
    """Return the reason of explain_absence() by the name of each artifact, or {} if the runtime can be used.

    Raises ConfigError as explain_absence() does.
    """
    reason = explain_absence(item.runtime, item.packages)
    if reason is None:
        return {}
    return {name_artifact(scheme, item.seeds, seed): reason for scheme in item.schemes for seed in item.seeds}
