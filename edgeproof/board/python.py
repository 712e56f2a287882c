"""The board's Python packages: aarch64 wheels in the locked versions, and LoadGen, which is compiled here."""

from __future__ import annotations

import re
import shutil
import tempfile
import tomllib
from collections.abc import Collection
from pathlib import Path

from edgeproof.board import wheels
from edgeproof.board.programs import find_program, make_library_environment, run_program
from edgeproof.board.steps import build_step, hash_step
from edgeproof.board.wheels import PYTHON_VERSION, run_pip
from edgeproof.config import compose, runtime_extras
from edgeproof.config import packages as config_packages
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import EdgeproofError
from edgeproof.devices.doctor import LOADGEN

EXTENSION_SUFFIX = "cpython-311-aarch64-linux-gnu.so"


def list_packages(further: Collection[str] = ()) -> dict[str, str]:
    """Return the packages that runtimes need on a device, with their locked versions, without LoadGen.

    Of the runtimes that are extras, only those in `further` count.
    """
    definitions = compose.compose_bench_settings("quick").runtimes
    names = [
        package
        for name, definition in definitions.items()
        for package in definition.device_packages
        if name in further or runtime_extras.find_extra(name) is None
    ]
    return config_packages.pin([*names, "numpy"])


def build_site(system: Path, tools: Path, further: Collection[str] = (), *, allow_cuda: bool = False) -> Path:
    """Return the directory of modules for the board's Python, with those of the extras in `further`.

    `allow_cuda` installs packages of CUDA where a build of a package requires them.
    """
    packages = list_packages(further)
    return build_step(
        "site",
        {
            "wheels": packages,
            "loadgen": config_packages.pin([LOADGEN])[LOADGEN],
            "system": hash_step(system),
            "installer": hash_file(Path(wheels.__file__)),
            "cuda": allow_cuda,
        },
        lambda out: _fill(out, packages, system, tools, allow_cuda=allow_cuda),
        f"fetching {', '.join(packages)} and compiling LoadGen for aarch64 (2 minutes)",
    )


def _fill(out: Path, packages: dict[str, str], system: Path, tools: Path, *, allow_cuda: bool) -> None:
    wheels.install_packages(out, packages, config_packages.read_all_versions(), allow_cuda=allow_cuda)
    version = config_packages.pin([LOADGEN])[LOADGEN]
    with tempfile.TemporaryDirectory() as scratch:
        _compile_loadgen(Path(scratch), version, out, system, tools)


def _compile_loadgen(scratch: Path, version: str, out: Path, system: Path, tools: Path) -> None:
    """Compile LoadGen's source distribution for the board, with the options of its setup.py."""
    run_pip("download", "--no-deps", "--no-binary", LOADGEN, "--dest", scratch, f"{LOADGEN}=={version}")
    (archive,) = scratch.glob("*.tar.gz")
    run_program(["tar", "-xf", archive, "-C", scratch])
    source = archive.with_name(archive.name.removesuffix(".tar.gz"))
    requirements = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    run_pip(
        "install", "--no-deps", "--target", scratch / "headers", *(name for name in requirements if "pybind11" in name)
    )
    compiler = find_program("aarch64-linux-gnu-g++", tools)
    sources = [path for part in (".", "bindings", "generated") for path in sorted((source / part).glob("*.cc"))]
    if compiler is None or not sources:
        raise EdgeproofError(f"{LOADGEN} {version} cannot be compiled: {'no sources' if compiler else 'no compiler'}.")
    environment = make_library_environment(compiler, tools)
    major, minor = re.findall(r"\d+", version)[:2]
    argv = [
        *(compiler, "-std=c++14", "-O3", "-fPIC", "-shared", "-fvisibility=hidden"),
        *((f"--sysroot={tools.resolve()}",) if environment is not None else ()),
        *(f"-DMAJOR_VERSION={major}", f"-DMINOR_VERSION={minor}", f"-I{source}"),
        f"-I{scratch / 'headers' / 'pybind11' / 'include'}",
        f"-I{(system / 'usr/include' / f'python{PYTHON_VERSION}').resolve()}",
        *("-isystem", (system / "usr/include").resolve()),
        *(*sources, "-o", out / f"mlperf_loadgen.{EXTENSION_SUFFIX}"),
    ]
    run_program(argv, environment=environment)
    dist_info = out / f"{LOADGEN.replace('-', '_')}-{version}.dist-info"
    dist_info.mkdir()
    shutil.copyfile(source / "PKG-INFO", dist_info / "METADATA")
