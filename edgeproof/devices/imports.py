"""Find the modules of edgeproof that a program on a device imports, by reading the sources.

What ships to a device is exactly this, so an edit to any other module never changes the name of a runner.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# The packages whose code runs on a device. A plugin also imports host packages, inside the functions that only the host
# calls: the export() of a runtime imports the code that trains models. Such imports are not followed.
DEVICE_PACKAGES = ("core", "runner", "deployed", "runtimes", "tasks")


def read_program(entry: str, plugins: Mapping[str, Path]) -> dict[str, bytes]:
    """Return the files of a zipapp that runs the module `entry`, such as 'edgeproof.runner.__main__'.

    `plugins` maps the names of modules that are imported at run time, such as 'edgeproof.runtimes.onnx', to their
    files, which may lie outside this package. The keys of the result are paths in the archive.
    """
    modules = find_modules({entry: _require_module(entry), **plugins})
    files = {_get_archive_path(name, path): path.read_bytes() for name, path in modules.items()}
    files["__main__.py"] = modules[entry].read_bytes()
    return files


def find_modules(roots: Mapping[str, Path]) -> dict[str, Path]:
    """Return the name and file of every module that the root modules need, the roots and all packages included."""
    modules: dict[str, Path] = {}
    waiting = dict(roots)
    while waiting:
        name, path = waiting.popitem()
        modules[name] = path
        imported = {*_list_packages(name), *_list_imports(path)}
        for other in imported - set(modules) - set(waiting):
            if (file := _find_module(other)) is not None:
                waiting[other] = file
    return modules


def _list_imports(path: Path) -> Iterator[str]:
    """Yield the dotted names below edgeproof that a file imports: modules, and functions or classes in them."""
    tree = ast.parse(path.read_bytes())
    module_level = {id(node) for node in _walk_module_level(tree)}
    for node in ast.walk(tree):
        for name in _list_imported_names(node):
            if id(node) in module_level or name.split(".")[1] in DEVICE_PACKAGES:
                yield from _list_packages(name)
                yield name


def _list_imported_names(node: ast.AST) -> list[str]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.startswith(f"{PACKAGE.name}.")]


def _walk_module_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run when a module is imported: all but those inside functions."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _walk_module_level(node)


def _list_packages(name: str) -> list[str]:
    """Return the packages around a dotted name, the outermost first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _find_module(name: str) -> Path | None:
    """Return the file of a module or package of edgeproof, or None for a name inside a module."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    candidates = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _require_module(name: str) -> Path:
    path = _find_module(name)
    assert path is not None, f"edgeproof has no module '{name}'"
    return path


def _get_archive_path(name: str, path: Path) -> str:
    parts = name.replace(".", "/")
    return f"{parts}/__init__.py" if path.name == "__init__.py" else f"{parts}.py"
