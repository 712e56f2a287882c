"""`import edgeproof` offers the Python API, loads nothing heavy, and leaves packages as they are."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import edgeproof
import edgeproof.bench.schedule
import edgeproof.records.kinds
from edgeproof import api

HEAVY = ("numpy", "pandas", "torch", "pydantic", "yaml", "duckdb", "scipy", "rich")


def test_an_import_loads_nothing_of_the_host() -> None:
    code = "import sys, edgeproof; edgeproof.Study; edgeproof.bench; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not set(HEAVY) & set(done.stdout.split())


def test_all_names_are_those_of_the_api() -> None:
    assert edgeproof.__all__ == sorted(edgeproof.__all__) == api.__all__
    for name in edgeproof.__all__:
        assert name in dir(edgeproof)
        assert callable(getattr(edgeproof, name))


@pytest.mark.parametrize("name", ["bench", "records"])
def test_a_package_with_the_name_of_a_function_is_both(name: str) -> None:
    package = getattr(edgeproof, name)
    assert inspect.ismodule(package)
    assert package.__path__
    assert inspect.signature(package) == inspect.signature(getattr(api, name))


def test_the_module_of_the_functions_is_reached_without_an_import() -> None:
    assert edgeproof.__getattr__("api") is api


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'edgeproof' has no attribute 'benchmark'"):
        getattr(edgeproof, "benchmark")  # noqa: B009 - mypy knows that there is no such name
