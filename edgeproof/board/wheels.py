"""Install Python packages for the board with pip, and whatever they need there.

pip can fetch wheels of another platform, but it decides by the machine on which it runs whether a requirement such as
`coremltools; platform_machine == "x86_64"` holds. So pip installs single packages here, and their requirements are
read from them and decided for the board.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Set
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgeproof.board.programs import run_program
from edgeproof.core.errors import EdgeproofError

PYTHON_VERSION = "3.11"
# Debian 12 has glibc 2.36. Wheels for this and for every older version run there.
WHEEL_PLATFORMS = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 37))]
# An index with builds of torch without CUDA. PyPI has, for aarch64, one that needs gigabytes of CUDA packages.
TORCH_INDEX = os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
# Pure Python that PyPI has as a source distribution only: what is built here runs on the board too.
SOURCE_DISTRIBUTIONS = ("antlr4-python3-runtime",)
GPU_PACKAGES = ("cuda-", "nvidia-")
# The board's values for markers of requirements.
ENVIRONMENT: dict[str, str | Set[str]] = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "aarch64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": f"{PYTHON_VERSION}.2",
    "python_version": PYTHON_VERSION,
    "sys_platform": "linux",
    "extra": "",
}


def install_packages(
    out: Path, packages: Mapping[str, str], versions: Mapping[str, str], *, allow_cuda: bool = False
) -> None:
    """Install packages in the given versions into the directory `out`, and all that they need on the board.

    `versions` has the locked versions by normalized name; a package that is not among them is the newest one that its
    user allows. Raises EdgeproofError if a package can't be installed, or needs packages of CUDA without `allow_cuda`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        # The lock's hashes would require a hash of every package, also of those that only the board needs.
        constraints = Path(scratch, "constraints.txt")
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
        waiting: dict[str, str] = {canonicalize_name(name): f"{name}=={version}" for name, version in packages.items()}
        while waiting:
            fetched = Path(scratch, "packages")
            fetched.mkdir()
            _fetch(fetched, list(waiting.values()), constraints)
            # pip itself would replace a directory that packages share, such as 'nvidia', by that of the last ones.
            shutil.copytree(fetched, out, dirs_exist_ok=True, copy_function=shutil.move)
            shutil.rmtree(fetched)
            installed, required = list_installed(out), list_requirements(out, allow_cuda=allow_cuda)
            if missing := waiting.keys() - installed:
                raise EdgeproofError(f"pip did not install {', '.join(sorted(missing))} for the board.")
            waiting = {name: text for name, text in required.items() if name not in installed}


def list_installed(directory: Path) -> set[str]:
    """Return the normalized names of the packages in a directory."""
    return {canonicalize_name(package.metadata["Name"]) for package in metadata.distributions(path=[str(directory)])}


def list_requirements(directory: Path, *, allow_cuda: bool = False) -> dict[str, str]:
    """Return what the packages in a directory require on the board: name and allowed versions, by normalized name.

    Raises EdgeproofError for packages of CUDA, unless they are allowed.
    """
    packages = list(metadata.distributions(path=[str(directory)]))
    extras: dict[str, set[str]] = {}
    requirements: dict[str, str] = {}
    # A package can be asked for an extra by one that comes after it, so the list is read until nothing is new.
    while True:
        known = {name: set(names) for name, names in extras.items()}
        for package in packages:
            for requirement in _list_valid(package, extras.get(canonicalize_name(package.metadata["Name"]), set())):
                if requirement.name.startswith(GPU_PACKAGES) and not allow_cuda:
                    raise EdgeproofError(_describe_cuda(package, requirement))
                name = canonicalize_name(requirement.name)
                requirements.setdefault(name, f"{requirement.name}{requirement.specifier}")
                extras.setdefault(name, set()).update(requirement.extras)
        if extras == known:
            return requirements


def _list_valid(package: metadata.Distribution, extras: Set[str]) -> list[Requirement]:
    """Return the requirements of a package that hold on the board, with those of its `extras`."""
    return [
        requirement
        for requirement in map(Requirement, package.requires or ())
        if requirement.marker is None
        or any(requirement.marker.evaluate(ENVIRONMENT | {"extra": extra}) for extra in ("", *extras))
    ]


def _describe_cuda(package: metadata.Distribution, requirement: Requirement) -> str:
    return (
        f"{package.metadata['Name']} {package.version} is a build for NVIDIA's GPUs: it requires {requirement.name}. "
        f"No build without CUDA was found at {TORCH_INDEX}. Set TORCH_INDEX to an index that has it, or install this "
        "build with 'make board BOARD_CUDA=yes' (gigabytes)."
    )


def run_pip(*words: Any) -> None:
    """Run pip with this Python. Raises EdgeproofError with pip's last messages if it fails."""
    verb, *rest = words
    run_program([sys.executable, "-m", "pip", verb, "--quiet", "--disable-pip-version-check", *rest])


def _fetch(out: Path, requirements: list[str], constraints: Path) -> None:
    run_pip(
        *("install", "--no-deps", "--target", out, "--no-compile", "-c", constraints),
        *("--only-binary", ":all:", *(word for name in SOURCE_DISTRIBUTIONS for word in ("--no-binary", name))),
        *("--python-version", PYTHON_VERSION, "--implementation", "cp"),
        *(("--extra-index-url", TORCH_INDEX) if any(text.startswith("torch=") for text in requirements) else ()),
        *(word for platform in WHEEL_PLATFORMS for word in ("--platform", platform)),
        *requirements,
    )
