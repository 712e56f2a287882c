"""A stage in dvc.yaml depends on exactly the modules that its code imports. The import graph is grimp's."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import grimp
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGES = ("edgeproof", "stages")
# Kinds of plugins. A stage depends on the one plugin file that it uses and on the modules that any plugin of the kind
# imports.
PLUGINS = ("methods", "metrics", "networks", "runtimes", "task_kinds", "tasks", "transports")
PLUGIN = re.compile(r"edgeproof/(\w+)/[^/]*\$\{[^}]+\}\.py")
# Code for the device is shipped as files and not imported. Only these packages reach a device.
SHIPPED = ("edgeproof.core", "edgeproof.runner", "edgeproof.runtimes")
RUNNER = "edgeproof.runner.__main__"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Build the import graph of the whole project, including imports inside functions."""
    return grimp.build_graph(*PACKAGES, cache_dir=None)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_modules_that_it_imports(stage: str, graph: grimp.ImportGraph) -> None:
    definition = STAGES[stage].get("do", STAGES[stage])
    declared, kinds = list_declared_modules(definition["deps"])
    imported = list_imported_modules(definition["cmd"], kinds, graph)
    missing, unused = sorted(imported - declared), sorted(declared - imported)
    assert not missing, f"add to the deps of '{stage}' in dvc.yaml: {missing}"
    assert not unused, f"remove from the deps of '{stage}' in dvc.yaml: {unused}"


def test_the_sources_of_training_data_are_dependencies_of_every_model() -> None:
    deps = STAGES["train"]["do"]["deps"]
    assert "edgeproof/data/preparation.py" in deps
    assert "edgeproof/core/layouts.py" in deps


def list_declared_modules(deps: list[str]) -> tuple[set[str], set[str]]:
    """Return the modules in a list of dependencies, with directories expanded, and the kinds of its plugins."""
    modules, kinds = set(), set()
    for dependency in deps:
        plugin = PLUGIN.fullmatch(dependency)
        if plugin:
            kinds.add(plugin[1])
        elif dependency.split("/")[0] in PACKAGES:
            path = ROOT / dependency
            assert path.exists(), f"{dependency} does not exist"
            modules |= {str(file.relative_to(ROOT)) for file in ([path] if path.is_file() else path.rglob("*.py"))}
    return {module for module in modules if has_code(ROOT / module) and not is_plugin(module, kinds)}, kinds


def list_imported_modules(command: str, kinds: set[str], graph: grimp.ImportGraph) -> set[str]:
    """Return the files that a stage's module and the plugins of these kinds import, directly or indirectly."""
    stage = command.split()[2]
    plugins = {module for kind in kinds for module in graph.find_children(f"edgeproof.{kind}")}
    modules = {stage} | list_upstream(graph, {stage})
    if stage == "stages.bench":
        device = {RUNNER} | {name for name in list_upstream(graph, {RUNNER} | plugins) if name.startswith(SHIPPED)}
        modules |= device
        plugins -= {name for name in plugins if name.startswith("edgeproof.runtimes")}
    modules |= list_upstream(graph, plugins)
    files = {str(locate_file(module).relative_to(ROOT)) for module in modules}
    return {file for file in files if has_code(ROOT / file) and not is_plugin(file, kinds)}


def list_upstream(graph: grimp.ImportGraph, modules: set[str]) -> set[str]:
    """Return the modules that `modules` import, directly or indirectly."""
    return {name for module in modules for name in graph.find_upstream_modules(module)}


def locate_file(module: str) -> Path:
    """Return the file of a module or of a package."""
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def has_code(path: Path) -> bool:
    """Return True if a file has more than a docstring and the version."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not isinstance(node, ast.Expr) for node in body) and path != ROOT / "edgeproof/__init__.py"


def is_plugin(path: str, kinds: set[str]) -> bool:
    """Return True if a file is a plugin of one of these kinds, of which a stage lists only the plugin that it uses."""
    parts = Path(path).parts
    return len(parts) == 3 and parts[1] in kinds
