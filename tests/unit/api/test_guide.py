"""The guide to the Python API calls what exists, with arguments that exist."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

import edgeproof
from tests.support.project import ROOT

GUIDE = (ROOT / "docs/python_api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_call_in_the_guide_fits_its_function(block: str) -> None:
    calls = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    own = [(name, call) for call in calls if (name := ast.unparse(call.func)).startswith("edgeproof.")]
    assert own
    for name, call in own:
        function = getattr(edgeproof, name.removeprefix("edgeproof."))
        inspect.signature(function).bind(*call.args, **{str(word.arg): word.value for word in call.keywords})


def test_the_guide_names_every_function() -> None:
    rows = [line for line in GUIDE.splitlines() if line.startswith("| `edgeproof.")]
    assert sorted(re.findall(r"`edgeproof\.(\w+)", "\n".join(row.split("|")[1] for row in rows))) == edgeproof.__all__
