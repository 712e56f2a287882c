"""Check the limits on sizes, names and docstrings (CONTRIBUTING.md). Exit with 1 if a limit is exceeded.

    python tests/check_style.py                    # the whole project
    python tests/check_style.py edgeproof/bench    # one part of it

The shares of function names and docstrings have limits for the whole project only. For one part, the cases are listed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "edgeproof"
PARTS = (PACKAGE, "stages", "tests", "experiments", "scripts")
MAX_ROOT_MODULES = 4
MAX_FILE_LINES = 350
MAX_CLASS_LINES = 250
MAX_FUNCTION_LINES = 50
MAX_SHARE = 0.03
# A function is named by a verb in the imperative, so a name that begins with a past participle is a finding.
PARTICIPLE = re.compile(r"_*(?:[a-z]+ed|told|made|found|shown|given|known|kept|sent|held|left|begun|drawn)(?:_|$)")
NOT_PARTICIPLE = re.compile(r"_*(?:need|speed|feed|seed|embed|proceed|exceed)")
QUESTION = re.compile(r"(?:What|Whether|How|Where|Who|Why)\b")
FORBIDDEN_LOCALS = ("told", "found", "of")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Findings:
    """Findings of one run: lines that fail by themselves, and cases that count towards a share."""

    failures: list[str] = field(default_factory=list)
    functions: int = 0
    docstrings: int = 0
    participles: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)


def main(arguments: list[str]) -> int:
    """Check the given files and directories, or the whole project; return the exit code."""
    roots = [Path(argument) for argument in arguments] or [Path(part) for part in PARTS]
    findings = Findings()
    for root in roots:
        for path in [root] if root.is_file() else sorted(root.rglob("*.py")):
            check_file(path, findings)
    modules = sorted(path.name for path in Path(PACKAGE).glob("*.py"))
    if len(modules) > MAX_ROOT_MODULES:
        findings.failures.append(f"{PACKAGE}/ has {len(modules)} modules, at most {MAX_ROOT_MODULES}: {modules}")
    whole = not arguments
    for kind, cases, total in (
        ("functions are named by a participle", findings.participles, findings.functions),
        ("docstrings begin with a question word", findings.questions, findings.docstrings),
    ):
        share = len(cases) / max(total, 1)
        print(f"{len(cases)} of {total} ({share:.1%}) {kind}")
        if not whole or share > MAX_SHARE:
            print("".join(f"  {case}\n" for case in cases), end="")
        if whole and share > MAX_SHARE:
            findings.failures.append(f"more than {MAX_SHARE:.0%} of {kind}")
    for failure in findings.failures:
        print(failure)
    return 1 if findings.failures else 0


def check_file(path: Path, findings: Findings) -> None:
    """Add one file's findings."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    # A test module may hold many cases of one subject; the limits of size are for what users run.
    sized = path.parts[0] in (PACKAGE, "stages")
    lines = len(text.splitlines())
    if sized and lines > MAX_FILE_LINES:
        findings.failures.append(f"{path}: {lines} lines, at most {MAX_FILE_LINES}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function):
            check_docstring(path, node, findings)
        if isinstance(node, ast.ClassDef | Function):
            limit = MAX_CLASS_LINES if isinstance(node, ast.ClassDef) else MAX_FUNCTION_LINES
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if sized and size > limit:
                findings.failures.append(f"{path}:{node.lineno}: {node.name} has {size} lines, at most {limit}")
        if isinstance(node, Function):
            findings.functions += 1
            if PARTICIPLE.match(node.name) and not NOT_PARTICIPLE.match(node.name):
                findings.participles.append(f"{path}:{node.lineno}: {node.name}")
        findings.failures += [
            f"{path}:{line}: a local is called '{name}'" for name, line in local_names(node) if name in FORBIDDEN_LOCALS
        ]


def check_docstring(path: Path, node: ast.Module | ast.ClassDef | Function, findings: Findings) -> None:
    """Count a docstring, and note one that begins with a question word."""
    docstring = ast.get_docstring(node)
    if docstring is not None:
        findings.docstrings += 1
        if QUESTION.match(docstring):
            line = getattr(node, "lineno", 1)
            findings.questions.append(f"{path}:{line}: {docstring.splitlines()[0]}")


def local_names(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the name and line of every variable and parameter that a node binds."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id, node.lineno
    elif isinstance(node, ast.arg):
        yield node.arg, node.lineno


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
