"""Hashes of edgeproof's code and of plugins, as parameters that the stages of a project depend on.

In a clone of edgeproof, dvc.yaml names the files that each stage imports. In a user's project, these files are in the
Python environment, so their hashes become parameters. An upgrade of edgeproof then repeats only the stages whose code
it changed.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgeproof.config.yaml_file import read_yaml
from edgeproof.core import plugins
from edgeproof.core.directories import hash_file
from edgeproof.paths import find_shipped

PACKAGE = Path(__file__).parents[1]
# The stages of the repository's pipeline by the names of the fields in CodeParams.
STAGES = {"prepare": "prepare", "model": "train", "export": "export", "bench": "bench", "report": "report"}


def describe_code() -> dict[str, str]:
    """Return the values of CodeParams for the running version of edgeproof."""
    return {"version": importlib.metadata.version("edgeproof"), **_hash_stages()}


def describe_plugins(used: Mapping[str, tuple[str, str]], unused: str) -> dict[str, Any]:
    """Return the values of PluginSources for plugins by their roles, such as {'network': ('networks', 'mlp')}.

    An installed plugin gets the path `unused` instead of a file's: its content is in the hash. Raises UnknownNameError.
    """
    project = plugins.PROJECT_PLUGINS.resolve()
    files, installed = {}, []
    for role, (kind, name) in used.items():
        source = plugins.find_source(kind, name)
        is_own = source.resolve().is_relative_to(project)
        files[role] = f"{plugins.PROJECT_PLUGINS}/{kind}/{name}.py" if is_own else unused
        if not is_own:
            installed.append(source)
    return {"files": files, "sha256": _hash_files(installed)}


@functools.cache
def _hash_stages() -> dict[str, str]:
    stages = read_yaml(find_shipped("dvc.yaml"))["stages"]
    return {name: _hash_files(_list_modules(stages[stage])) for name, stage in STAGES.items()}


def _list_modules(stage: Mapping[str, Any]) -> list[Path]:
    """Return the files of edgeproof that a stage of the repository's dvc.yaml depends on, without its plugins."""
    # A stage with 'foreach' has its dependencies under 'do'. Plugins have a variable in their path.
    names = [name for name in stage.get("do", stage)["deps"] if "${" not in name]
    paths = [
        find_shipped("stages") / name.removeprefix("stages/")
        if name.startswith("stages/")
        else PACKAGE / name.removeprefix("edgeproof/")
        for name in names
        if name.startswith(("stages/", "edgeproof/"))
    ]
    return [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]


def _hash_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: (path.parent.name, path.name)):
        digest.update(f"{path.parent.name}/{path.name} {hash_file(path)}\n".encode())
    return digest.hexdigest()
