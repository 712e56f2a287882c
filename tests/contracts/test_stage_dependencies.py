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
# Kinds of plugins: a stage names the one file that it uses, and shares the modules that plugins of this kind import.
PLUGINS = ("methods", "networks", "runtimes", "tasks", "transports")
PLUGIN = re.compile(r"edgeproof/(\w+)/[^/]*\$\{[^}]+\}\.py")
# The device's half is shipped as files and not imported: these packages alone reach a device.
SHIPPED = ("edgeproof.core", "edgeproof.runner", "edgeproof.runtimes")
RUNNER = "edgeproof.runner.__main__"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """The imports of the whole project, those inside functions included."""
    return grimp.build_graph(*PACKAGES, cache_dir=None)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_modules_that_it_imports(stage: str, graph: grimp.ImportGraph) -> None:
    definition = STAGES[stage].get("do", STAGES[stage])
    declared, kinds = declared_modules(definition["deps"])
    imported = imported_modules(definition["cmd"], kinds, graph)
    missing, unused = sorted(imported - declared), sorted(declared - imported)
    assert not missing, f"add to the deps of '{stage}' in dvc.yaml: {missing}"
    assert not unused, f"remove from the deps of '{stage}' in dvc.yaml: {unused}"


def test_the_sources_of_training_data_are_dependencies_of_every_model() -> None:
    deps = STAGES["train"]["do"]["deps"]
    assert "edgeproof/data/preparation.py" in deps
    assert "edgeproof/data/layouts.py" in deps


def declared_modules(deps: list[str]) -> tuple[set[str], set[str]]:
    """The modules that a list of dependencies names, directories expanded, and the kinds of plugins that it names."""
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


def imported_modules(command: str, kinds: set[str], graph: grimp.ImportGraph) -> set[str]:
    """The files with code that a stage's module and the plugins of these kinds import, directly or not."""
    stage = command.split()[2]
    plugins = {module for kind in kinds for module in graph.find_children(f"edgeproof.{kind}")}
    modules = {stage} | upstream(graph, {stage})
    if stage == "stages.bench":
        device = {RUNNER} | {name for name in upstream(graph, {RUNNER} | plugins) if name.startswith(SHIPPED)}
        modules |= device
        plugins -= {name for name in plugins if name.startswith("edgeproof.runtimes")}
    modules |= upstream(graph, plugins)
    files = {str(file_of(module).relative_to(ROOT)) for module in modules}
    return {file for file in files if has_code(ROOT / file) and not is_plugin(file, kinds)}


def upstream(graph: grimp.ImportGraph, modules: set[str]) -> set[str]:
    """Everything that the modules import, directly or not."""
    return {name for module in modules for name in graph.find_upstream_modules(module)}


def file_of(module: str) -> Path:
    """The file of a module or of a package."""
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def has_code(path: Path) -> bool:
    """Whether a file holds more than a docstring and the version."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not isinstance(node, ast.Expr) for node in body) and path != ROOT / "edgeproof/__init__.py"


def is_plugin(path: str, kinds: set[str]) -> bool:
    """Whether a file is a plugin of a kind of which the stage names the one that it uses."""
    parts = Path(path).parts
    return len(parts) == 3 and parts[1] in kinds
