"""Write requirements.lock: every package for Python 3.11 to 3.13 on Linux, with the sha256 of each file.

requirements-runtimes.lock gets the further packages of the runtimes that are extras.

    make lock                                       # after a change of pyproject.toml; keeps all other versions
    make lock ARGS="--upgrade-package onnxruntime"  # any option of 'uv pip compile'

Needs uv. The hashes of torch's CPU build come from its own index, because PyPI has only the build for CUDA.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from pathlib import Path

LOCK, RUNTIMES_LOCK = Path("requirements.lock"), Path("requirements-runtimes.lock")
EXTRAS = ("dev", "docs", "farm", "federated")
RUNTIME_EXTRAS = ("coreml", "executorch", "mnn", "ncnn", "tflm")
TORCH_INDEX = "https://download.pytorch.org/whl/cpu/torch/"
# True on every machine that the lock is for, so it would only repeat itself in each line.
ALWAYS = " ; python_full_version < '3.14' and sys_platform == 'linux'"
RUNTIMES_ENVIRONMENTS = [
    f"sys_platform == 'linux' and python_version < '3.14' and platform_machine == '{machine}'"
    for machine in ("x86_64", "aarch64")
]
# The same for the second lock, as uv writes it.
ALWAYS_FOR_RUNTIMES = (
    " ; python_full_version < '3.14' and ((platform_machine == 'aarch64' and sys_platform == 'linux') "
    "or (platform_machine == 'x86_64' and sys_platform == 'linux'))"
)
CUDA_PACKAGE = re.compile(r"(?:cuda|nvidia)-|triton==")
HEADER = """\
# Every package in the version that edgeproof is tested with, and the sha256 of each file that may be installed, for
# Python 3.11 to 3.13 on Linux. Written by 'make lock'. torch has the files of PyPI and of the CPU build for x86-64.
"""
RUNTIMES_HEADER = """\
# The further packages of the runtimes that are extras, beside those of requirements.lock. Written by 'make lock',
# installed by 'make runtimes'.
"""
# 'make setup' reads the lock up to this line if it installs the CPU build.
CUDA_HEADER = "# CUDA: needed by PyPI's build of torch only.\n"


def main(options: list[str]) -> int:
    """Resolve the dependencies with uv and write the lock; return the exit code."""
    try:
        text = compile_lock(Path.cwd(), LOCK, [*(f"--extra={extra}" for extra in EXTRAS), *options])
        LOCK.write_text(format_lock(text, LOCK.read_text(encoding="utf-8")), encoding="utf-8")
        text = compile_runtimes(options)
        RUNTIMES_LOCK.write_text(format_further(text, LOCK.read_text(encoding="utf-8")), encoding="utf-8")
    except FileNotFoundError:
        print("error: uv is not installed. Install it: pip install uv", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


def compile_lock(project: Path, lock: Path, options: list[str]) -> str:
    """Return uv's resolution of a project. Versions and hashes of the existing lock are kept."""
    draft = lock.with_suffix(".part")
    draft.write_text(lock.read_text(encoding="utf-8") if lock.exists() else "", encoding="utf-8")
    try:
        subprocess.run(
            [
                *("uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11", "--quiet"),
                *("--generate-hashes", "--no-annotate", "--no-header", "--output-file", str(draft.resolve()), *options),
            ],
            check=True,
            cwd=project,
        )
        return draft.read_text(encoding="utf-8")
    finally:
        draft.unlink()


def compile_runtimes(options: list[str]) -> str:
    """Return uv's resolution of the runtimes' extras, with the versions of requirements.lock for all that it has.

    They are resolved as a project of their own for x86-64 and aarch64. Some of them have wheels for one machine only,
    and uv would look for wheels of torch for machines that do not exist.
    """
    extras = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    requirements = [line for extra in RUNTIME_EXTRAS for line in extras[extra]]
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "pyproject.toml").write_text(
            f'[project]\nname = "runtimes"\nversion = "0"\nrequires-python = ">=3.11,<3.14"\n'
            f"dependencies = {json.dumps(requirements)}\n"
            f"[tool.uv]\nenvironments = {json.dumps(RUNTIMES_ENVIRONMENTS)}\n",
            encoding="utf-8",
        )
        return compile_lock(Path(scratch), RUNTIMES_LOCK, ["--constraint", str(LOCK.resolve()), *options])


def format_further(compiled: str, first: str) -> str:
    """Return the text of the second lock: the packages of uv's output that the first lock does not have."""
    known = {block.partition("==")[0] for block in list_blocks(first)}
    blocks = [block.replace(ALWAYS_FOR_RUNTIMES, "") for block in list_blocks(compiled)]
    return "".join([RUNTIMES_HEADER, *(block for block in blocks if block.partition("==")[0] not in known)])


def list_blocks(text: str) -> list[str]:
    """Return the lines of each package in a lock."""
    blocks = re.findall(r"^[a-z].*\n(?: .*\n)*", text, re.MULTILINE)
    return [block.replace(ALWAYS, "") for block in blocks]


def format_lock(compiled: str, previous: str) -> str:
    """Return the lock's text: the packages of uv's output, torch with its CPU build, and the CUDA packages last."""
    blocks = [
        _add_cpu_build(block, previous) if block.startswith("torch==") else block for block in list_blocks(compiled)
    ]
    parts = {cuda: [block for block in blocks if bool(CUDA_PACKAGE.match(block)) is cuda] for cuda in (False, True)}
    return "".join([HEADER, *parts[False], CUDA_HEADER, *parts[True]])


def _add_cpu_build(block: str, previous: str) -> str:
    """Return torch's lines with the hashes of the CPU build. They are fetched if the version is new."""
    first, *hashes = block.splitlines()
    release = first.split()[0]
    if f"{release} " not in previous:
        with urllib.request.urlopen(TORCH_INDEX, timeout=60) as response:
            page = response.read().decode()
        version = re.escape(release.partition("==")[2])
        wheel = rf"torch-{version}%2Bcpu-cp31[123]-cp31[123]-manylinux\w+_x86_64\.whl#sha256=(\w{{64}})"
        hashes += [f"    --hash=sha256:{sha256}" for sha256 in re.findall(wheel, page)]
    lines = sorted({line.rstrip(" \\") for line in hashes})
    return " \\\n".join([first.rstrip(" \\"), *lines]) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
