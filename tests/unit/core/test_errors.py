"""Errors: the message about an unknown name, and the hierarchy that the module's docstring draws."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from edgeproof.core import errors

PACKAGE = Path(errors.__file__).parents[1]
ROOT = "EdgeproofError"
# A line of the tree: its branches, the class, and a description that may end with the class's file.
TREE_LINE = re.compile(
    r"(?P<branches>[│├└─ ]*)(?P<name>[A-Z]\w+)(?:\s+(?P<description>.+?)(?: \((?P<file>\S+\.py)\))?)?"
)


def test_an_unknown_name_lists_what_exists_and_suggests_the_nearest() -> None:
    error = errors.UnknownNameError("runtime", "onx", {"tflite", "onnx"}, "To add one: here.")
    assert str(error) == "unknown runtime 'onx'. Did you mean 'onnx'? Known: onnx, tflite. To add one: here."


def test_a_name_without_a_near_match_gets_no_suggestion() -> None:
    assert errors.suggest_nearest("zzz", ["onnx", "tflite"]) == ""


def test_the_message_says_so_when_no_name_is_known() -> None:
    assert "Known: none." in str(errors.UnknownNameError("device", "x", [], "Add one."))


@pytest.mark.parametrize(
    "kind",
    [
        errors.ConfigError,
        errors.UnknownNameError,
        errors.DataError,
        errors.ArtifactError,
        errors.Unsupported,
        errors.DeviceError,
        errors.DeviceUnreachableError,
    ],
)
def test_every_error_can_be_caught_as_an_edgeproof_error(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.EdgeproofError)


def find_error_classes() -> dict[str, tuple[str, str]]:
    """Find all direct and indirect subclasses of EdgeproofError in the package's sources: name → (base, file)."""
    classes = {
        node.name: (base.id if isinstance(base, ast.Name) else ast.unparse(base).rpartition(".")[2], path)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for base in node.bases[:1]
    }
    subclasses: dict[str, tuple[str, str]] = {}
    size = -1
    while size != len(subclasses):
        size = len(subclasses)
        for name, (base, path) in classes.items():
            if base == ROOT or base in subclasses:
                subclasses[name] = base, path.relative_to(PACKAGE).as_posix()
    return subclasses


def read_tree() -> dict[str, tuple[str, str]]:
    """Read the tree in the docstring of errors.py: name → (base, file)."""
    tree, ancestors = {}, [ROOT]
    lines = (errors.__doc__ or "").partition(f"\n{ROOT}\n")[2].splitlines()
    for match in (TREE_LINE.fullmatch(line) for line in lines if line):
        assert match is not None
        depth = len(match["branches"]) // 4
        ancestors[depth:] = [match["name"]]
        tree[match["name"]] = ancestors[depth - 1], match["file"] or "core/errors.py"
    return tree


def test_the_tree_in_the_docstring_shows_every_error_class_of_the_package() -> None:
    assert read_tree() == find_error_classes()


@pytest.mark.parametrize(
    ("error", "summary"),
    [
        (ValueError("a shape\nits details"), "a shape"),
        (RuntimeError("\n  an engine's reason \nmore"), "an engine's reason"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_the_summary_of_an_error_is_one_line_and_never_empty(error: BaseException, summary: str) -> None:
    assert errors.summarize_error(error) == summary
