"""Lookup of plugins: tasks, metrics, networks, methods, runtimes and transports.

A plugin is one file, <kind>/<name>.py, and its file name is its key in the configuration. The directories are searched
in this order:

1. those in the environment variable EDGEPROOF_PLUGINS, separated as in PATH,
2. plugins/ of the project,
3. the packages that installed distributions name in the entry point group 'edgeproof.plugins',
4. edgeproof/.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from edgeproof.core.errors import ConfigError, UnknownNameError

# The project's own plugins. They are used only in a project: in any other directory, no code of it is loaded.
PROJECT_PLUGINS, PROJECT_MARKER = Path("plugins"), Path("conf/config.yaml")
ENTRY_POINT_GROUP = "edgeproof.plugins"

SINGULAR = {
    "tasks": "task",
    "task_kinds": "kind of task",
    "metrics": "metric",
    "networks": "network",
    "methods": "method",
    "runtimes": "runtime",
    "transports": "transport",
}


def list_names(kind: str) -> list[str]:
    """List the names of all plugins of a kind ('runtimes', 'methods', …), sorted. No plugin is imported."""
    package = importlib.import_module(f"edgeproof.{kind}")
    plugin_names = {module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")}
    for directory in _external_directories(kind):
        plugin_names |= {path.stem for path in directory.glob("*.py") if not path.stem.startswith("_")}
    return sorted(plugin_names)


def load(kind: str, name: str) -> ModuleType:
    """Import a plugin.

    Raises UnknownNameError when there is no such file, ConfigError when a Python module that it imports is missing.
    """
    if name not in list_names(kind):
        raise build_unknown_name_error(kind, name)
    try:
        path = _find_external_file(kind, name)
        if path is not None:
            return _load_file(kind, name, path)
        return importlib.import_module(f"edgeproof.{kind}.{name}")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{SINGULAR[kind]} '{name}' needs the Python module '{error.name}', which is not installed. "
            "Install it, or run 'make setup' in a clone of edgeproof to install the locked packages."
        ) from error


def find_source(kind: str, name: str) -> Path:
    """Return the path of a plugin's file, for example to ship it to a device. Raises UnknownNameError."""
    path = _find_external_file(kind, name)
    if path is not None:
        return path
    spec = importlib.util.find_spec(f"edgeproof.{kind}.{name}")
    if spec is None or spec.origin is None:
        raise build_unknown_name_error(kind, name)
    return Path(spec.origin)


def build_unknown_name_error(kind: str, name: str) -> UnknownNameError:
    """Build the error for a plugin that does not exist."""
    definition = "" if kind in ("transports", "metrics", "task_kinds") else f" and conf/{kind}/{name}.yaml"
    path = f"{find_own_root()}/{kind}/{name}.py"
    return UnknownNameError(SINGULAR[kind], name, list_names(kind), f"To add one: {path}{definition}.")


def find_own_root() -> Path:
    """Return the directory in which plugins of the current project belong: edgeproof's own in its repository."""
    return Path("edgeproof") if Path("edgeproof").is_dir() else PROJECT_PLUGINS


def list_external_roots() -> list[Path]:
    """List the plugin directories outside of edgeproof, in order of precedence."""
    given = [Path(part) for part in os.environ.get("EDGEPROOF_PLUGINS", "").split(os.pathsep) if part]
    if not PROJECT_MARKER.is_file():
        return given
    own = [PROJECT_PLUGINS.resolve()] if PROJECT_PLUGINS.is_dir() else []
    return [*given, *own, *list_package_roots()]


@functools.cache
def list_package_roots() -> list[Path]:
    """List the plugin packages that installed distributions register as entry points, sorted by name."""
    roots = []
    for entry_point in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)):
        spec = importlib.util.find_spec(entry_point.module)
        roots += [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]
    return roots


def _external_directories(kind: str) -> list[Path]:
    return [root / kind for root in list_external_roots() if (root / kind).is_dir()]


def _find_external_file(kind: str, name: str) -> Path | None:
    """Return the file of a plugin outside of edgeproof, the one that takes precedence, or None."""
    paths = (directory / f"{name}.py" for directory in _external_directories(kind))
    return next((path for path in paths if path.is_file()), None)


def _load_file(kind: str, name: str, path: Path) -> ModuleType:
    qualified = f"edgeproof_plugins.{kind}.{name}"
    imported = sys.modules.get(qualified)
    if imported is not None and imported.__file__ == str(path):
        return imported
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
