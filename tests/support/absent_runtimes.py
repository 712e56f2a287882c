"""Runtimes that are extras: a test of one that is not installed checks the reason that its rows show instead."""

from __future__ import annotations

import functools
import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgeproof.config import packages, runtime_extras
from edgeproof.core import plugins
from edgeproof.core.errors import Unsupported

ROOT = Path(__file__).parents[2]


def is_absent(runtime: str) -> bool:
    """Return True if a runtime's extra is not installed, after a check that its reason names the command."""
    reason = _explain_absence(runtime)
    if reason is None:
        return False
    extra = runtime_extras.find_extra(runtime)
    names = [name.partition("==")[0] for name in read_packages(runtime)]
    assert f"Install the runtime: pip install {'' if extra is None else repr(f'edgeproof[{extra}]')}" in reason
    assert any(name in reason for name in names)
    return True


def cannot_run(runtime: str) -> bool:
    """Return True if sessions of a runtime can't be tested here, after a check of the reason that its rows show.

    The runtime is an extra that is not installed, it is only exported, or this machine lacks what it runs on.
    """
    module = plugins.load("runtimes", runtime)
    explain = getattr(module, "explain_unavailability", lambda: None)
    reason = getattr(module, "EXPORT_ONLY", None) or explain()
    if reason is None:
        return is_absent(runtime)
    assert len(reason.split()) > 5
    with pytest.raises(Unsupported, match=re.escape(reason)):
        module.Session(Path(), threads=1)
    return True


def find_device_modules(runtime: str) -> set[str]:
    """Return the modules of the packages that a runtime needs on a device, and of what these require."""
    names = [name.partition("==")[0] for name in _read_definition(runtime)["device_packages"]]
    lines = [line for name in names for line in metadata.requires(name) or () if "extra" not in line]
    wanted = {canonicalize_name(name) for name in (*names, *(Requirement(line).name for line in lines))}
    return {
        module
        for module, owners in metadata.packages_distributions().items()
        if wanted & set(map(canonicalize_name, owners))
    }


def read_packages(runtime: str) -> list[str]:
    """Return all packages that a runtime needs, on the host and on a device."""
    return sorted({*_read_definition(runtime)["host_packages"], *_read_definition(runtime)["device_packages"]})


@functools.cache
def _explain_absence(runtime: str) -> str | None:
    versions = packages.pin(read_packages(runtime), ROOT / packages.LOCK)
    return runtime_extras.explain_absence(runtime, versions)


def _read_definition(runtime: str) -> dict[str, list[str]]:
    text = (ROOT / "conf/runtimes" / f"{runtime}.yaml").read_text(encoding="utf-8")
    definition: dict[str, list[str]] = yaml.safe_load(text)
    return definition
