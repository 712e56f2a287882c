"""Write requirements.lock: every package for Python 3.11 to 3.13 on Linux, with the sha256 of each file.

    make lock                                       # after a change of pyproject.toml; keeps all other versions
    make lock ARGS="--upgrade-package onnxruntime"  # any option of 'uv pip compile'

Needs uv. The hashes of torch's CPU build come from its own index, because PyPI has only the build for CUDA.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

LOCK = Path("requirements.lock")
TORCH_INDEX = "https://download.pytorch.org/whl/cpu/torch/"
# True on every machine that the lock is for, so it would only repeat itself in each line.
ALWAYS = " ; python_full_version < '3.14' and sys_platform == 'linux'"
CUDA_PACKAGE = re.compile(r"(?:cuda|nvidia)-|triton==")
HEADER = """\
# Every package in the version that edgeproof is tested with, and the sha256 of each file that may be installed, for
# Python 3.11 to 3.13 on Linux. Written by 'make lock'. torch has the files of PyPI and of the CPU build for x86-64.
"""
# 'make setup' reads the lock up to this line if it installs the CPU build.
CUDA_HEADER = "# CUDA: needed by PyPI's build of torch only.\n"


def main(options: list[str]) -> int:
    """Resolve the dependencies with uv and write the lock; return the exit code."""
    draft = LOCK.with_suffix(".part")
    # uv keeps the versions and hashes of an existing file.
    draft.write_text(LOCK.read_text(encoding="utf-8"), encoding="utf-8")
    try:
        subprocess.run(
            [
                *("uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11", "--quiet"),
                *(
                    "--extra",
                    "dev",
                    "--extra",
                    "docs",
                    "--extra",
                    "farm",
                    "--generate-hashes",
                    "--no-annotate",
                    "--no-header",
                ),
                *("--output-file", str(draft), *options),
            ],
            check=True,
        )
        text = draft.read_text(encoding="utf-8")
    except FileNotFoundError:
        print("error: uv is not installed. Install it: pip install uv", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        return error.returncode
    finally:
        draft.unlink()
    LOCK.write_text(format_lock(text, LOCK.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def format_lock(compiled: str, previous: str) -> str:
    """Return the lock's text: the packages of uv's output, torch with its CPU build, and the CUDA packages last."""
    blocks = [block.replace(ALWAYS, "") for block in re.findall(r"^[a-z].*\n(?: .*\n)*", compiled, re.MULTILINE)]
    blocks = [_add_cpu_build(block, previous) if block.startswith("torch==") else block for block in blocks]
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
