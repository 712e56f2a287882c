"""The directory is the registry: a plugin is one file below edgeproof/<kind>/, its name is its configuration key.

Directories in the environment variable EDGEPROOF_PLUGINS (separated like PATH) are searched first,
each laid out like edgeproof/ itself, so that a plugin can live outside this repository.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from edgeproof.core.errors import ConfigError, UnknownName

SINGULAR = {
    "tasks": "task",
    "networks": "network",
    "methods": "method",
    "runtimes": "runtime",
    "transports": "transport",
}


def list_names(kind: str) -> list[str]:
    """List the plugins of a kind ('runtimes', 'methods', …), sorted."""
    package = importlib.import_module(f"edgeproof.{kind}")
    found = {module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")}
    for directory in _external_directories(kind):
        found |= {path.stem for path in directory.glob("*.py") if not path.stem.startswith("_")}
    return sorted(found)


def load(kind: str, name: str) -> ModuleType:
    """Import one plugin. Raises UnknownName when no file provides it."""
    if name not in list_names(kind):
        raise unknown_name(kind, name)
    try:
        for directory in _external_directories(kind):
            if (path := directory / f"{name}.py").is_file():
                return _load_file(kind, name, path)
        return importlib.import_module(f"edgeproof.{kind}.{name}")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{SINGULAR[kind]} '{name}' needs the Python module '{error.name}', which is not installed. "
            "Run 'make setup' to install the locked packages."
        ) from error


def find_source(kind: str, name: str) -> Path:
    """The file that provides a plugin, for shipping it to a device."""
    for directory in _external_directories(kind):
        if (path := directory / f"{name}.py").is_file():
            return path
    spec = importlib.util.find_spec(f"edgeproof.{kind}.{name}")
    if spec is None or spec.origin is None:
        raise unknown_name(kind, name)
    return Path(spec.origin)


def unknown_name(kind: str, name: str) -> UnknownName:
    """The error for a plugin that does not exist."""
    definition = "" if kind == "transports" else f" and conf/{kind}/{name}.yaml"
    return UnknownName(SINGULAR[kind], name, list_names(kind), f"To add one: edgeproof/{kind}/{name}.py{definition}.")


def list_external_roots() -> list[Path]:
    """Plugin directories outside the package, from EDGEPROOF_PLUGINS."""
    return [Path(part) for part in os.environ.get("EDGEPROOF_PLUGINS", "").split(os.pathsep) if part]


def _external_directories(kind: str) -> list[Path]:
    return [root / kind for root in list_external_roots() if (root / kind).is_dir()]


def _load_file(kind: str, name: str, path: Path) -> ModuleType:
    qualified = f"edgeproof_plugins.{kind}.{name}"
    loaded = sys.modules.get(qualified)
    if loaded is not None and loaded.__file__ == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(qualified, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[qualified] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[qualified]
        raise
    return module
