"""The board's Python packages: aarch64 wheels in the lock's versions, and LoadGen, which has none, compiled here."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from edgeproof.board import debian
from edgeproof.board.steps import build_step, find_program, hash_step, run_program
from edgeproof.config import compose
from edgeproof.config import packages as config_packages
from edgeproof.core.errors import EdgeproofError
from edgeproof.devices.doctor import LOADGEN

VERSION = "3.11"
EXTENSION_SUFFIX = "cpython-311-aarch64-linux-gnu.so"
# Debian 12 has glibc 2.36: wheels for it and for every older one run there.
WHEEL_PLATFORMS = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 37))]


def list_packages() -> dict[str, str]:
    """What the runtimes need on a device beside LoadGen, in the versions that studies are composed for."""
    definitions = compose.compose_bench_settings("quick").runtimes.values()
    return config_packages.pin([*(name for of in definitions for name in of.device_packages), "numpy"])


def build_site(system: Path, tools: Path) -> Path:
    """The directory of modules for the board's Python."""
    wheels = list_packages()
    return build_step(
        "site",
        {"wheels": wheels, "loadgen": config_packages.pin([LOADGEN])[LOADGEN], "system": hash_step(system)},
        lambda out: _fill(out, wheels, system, tools),
        f"fetching {', '.join(wheels)} and compiling LoadGen for aarch64 (2 minutes)",
    )


def _fill(out: Path, wheels: dict[str, str], system: Path, tools: Path) -> None:
    platforms = [word for platform in WHEEL_PLATFORMS for word in ("--platform", platform)]
    only = ["--only-binary", ":all:", "--python-version", VERSION, "--implementation", "cp", *platforms]
    _run_pip("install", "--target", out, "--no-compile", "-c", config_packages.LOCK, *only,
         *(f"{name}=={version}" for name, version in wheels.items()))  # fmt: skip
    version = config_packages.pin([LOADGEN])[LOADGEN]
    with tempfile.TemporaryDirectory() as scratch:
        _compile_loadgen(Path(scratch), version, out, system, tools)


def _compile_loadgen(scratch: Path, version: str, out: Path, system: Path, tools: Path) -> None:
    """Compile LoadGen's source distribution as its own setup.py would, for another processor."""
    _run_pip("download", "--no-deps", "--no-binary", LOADGEN, "--dest", scratch, f"{LOADGEN}=={version}")
    (archive,) = scratch.glob("*.tar.gz")
    run_program(["tar", "-xf", archive, "-C", scratch])
    source = archive.with_name(archive.name.removesuffix(".tar.gz"))
    needs = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    _run_pip("install", "--no-deps", "--target", scratch / "headers", *(name for name in needs if "pybind11" in name))
    compiler = find_program("aarch64-linux-gnu-g++", tools)
    sources = [path for folder in (".", "bindings", "generated") for path in sorted((source / folder).glob("*.cc"))]
    if compiler is None or not sources:
        raise EdgeproofError(f"{LOADGEN} {version} can't be compiled: {'no sources' if compiler else 'no compiler'}.")
    own = tools in Path(compiler).parents
    major, minor = re.findall(r"\d+", version)[:2]
    argv = [
        *(compiler, "-std=c++14", "-O3", "-fPIC", "-shared", "-fvisibility=hidden"),
        *((f"--sysroot={tools.resolve()}",) if own else ()),
        *(f"-DMAJOR_VERSION={major}", f"-DMINOR_VERSION={minor}", f"-I{source}"),
        f"-I{scratch / 'headers' / 'pybind11' / 'include'}",
        f"-I{(system / 'usr/include' / f'python{VERSION}').resolve()}",
        *("-isystem", (system / "usr/include").resolve()),
        *(*sources, "-o", out / f"mlperf_loadgen.{EXTENSION_SUFFIX}"),
    ]
    run_program(argv, environment=debian.make_environment(tools) if own else None)
    told = out / f"{LOADGEN.replace('-', '_')}-{version}.dist-info"
    told.mkdir()
    shutil.copyfile(source / "PKG-INFO", told / "METADATA")


def _run_pip(*words: Any) -> None:
    verb, *rest = words
    run_program([sys.executable, "-m", "pip", verb, "--quiet", "--disable-pip-version-check", *rest])
