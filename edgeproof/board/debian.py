"""Debian's packages by this machine's apt with a state of its own: nothing is installed, and no root is needed.

apt resolves dependencies and checks the archive's signatures; the packages are unpacked and none of their scripts runs.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeproof.board.steps import BOARD, build_step, describe_install, find_program, run_program
from edgeproof.core.directories import write_json
from edgeproof.core.errors import ConfigError, EdgeproofError

BOARD_ARCHITECTURE = "arm64"
HOST_STATUS = Path("/var/lib/dpkg/status")
PACKAGE_LIST = "packages.json"
# What builds and runs the board: a program, and the package that has it.
TOOL_PACKAGES = {
    "qemu-system-aarch64": "qemu-system-arm",
    "aarch64-linux-gnu-g++": "g++" if platform.machine() == "aarch64" else "g++-aarch64-linux-gnu",
    "mke2fs": "e2fsprogs",
}
# What runs on the board; the versions of Python and of the kernel are Debian 12's.
BOARD_PACKAGES = (
    *("linux-image-cloud-arm64", "busybox-static", "dash", "coreutils", "findutils", "tar", "gzip", "base-files"),
    *("openssh-server", "python3.11", "libpython3.11-dev", "libgomp1", "libstdc++6", "zlib1g"),
)


def fetch_tools(sources: Path | None) -> Path:
    """The directory with those programs that this machine lacks, and what they need."""
    for program in ("apt-get", "dpkg-deb", "ssh", "ssh-keygen"):
        if find_program(program) is None:
            raise ConfigError(f"{program} is not on this machine. {describe_install(program)}")
    packages = [package for program, package in TOOL_PACKAGES.items() if find_program(program) is None]
    return build_step(
        "tools",
        {"packages": packages, "sources": _read_sources(sources)},
        lambda out: _unpack(packages, out, None, sources),
        f"fetching {', '.join(packages) or 'nothing: all tools are here'}",
    )


def fetch_system(sources: Path | None) -> Path:
    """The directory with the board's Debian: kernel, Python with its headers, and an ssh server."""
    return build_step(
        "system",
        {"packages": list(BOARD_PACKAGES), "sources": _read_sources(sources)},
        lambda out: _unpack(BOARD_PACKAGES, out, BOARD_ARCHITECTURE, sources),
        f"fetching Debian for {BOARD_ARCHITECTURE} (100 MB)",
    )


def make_environment(tools_: Path) -> dict[str, str]:
    """What programs that were unpacked rather than installed need to find their libraries."""
    folders = [tools_ / part / f"{platform.machine()}-linux-gnu" for part in ("usr/lib", "lib")]
    return {"LD_LIBRARY_PATH": ":".join(str(folder.resolve()) for folder in folders if folder.is_dir())}


def _read_sources(sources: Path | None) -> str | None:
    return None if sources is None else sources.read_text(encoding="utf-8")


def _unpack(packages: Sequence[str], out: Path, architecture: str | None, sources: Path | None) -> None:
    """Unpack packages of an architecture with all they depend on; None is this machine's, less what it has."""
    if not packages:
        write_json(out / PACKAGE_LIST, [])
        return
    state = BOARD / f"apt-{architecture or 'host'}"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    status = state / "status"
    if architecture is None:
        shutil.copyfile(HOST_STATUS, status)
    else:
        status.write_text("", encoding="utf-8")
    given = {
        "Dir::State::Lists": (state / "lists").resolve(),
        "Dir::State::status": status.resolve(),
        "Dir::State::extended_states": (state / "extended").resolve(),
        "Dir::Cache": (state / "cache").resolve(),
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": "0",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "1",
    }
    if architecture is not None:
        given |= {"APT::Architecture": architecture, "APT::Architectures": architecture}
    if sources is not None:
        given |= {"Dir::Etc::sourcelist": sources.resolve(), "Dir::Etc::sourceparts": "-"}
    apt = ["apt-get", "-q", "-y", *(f"-o{name}={value}" for name, value in given.items())]
    run_program([*apt, "update"])
    try:
        run_program([*apt, "--download-only", "install", *packages])
    except EdgeproofError as error:
        what = f"apt offers no {' '.join(packages)} for {architecture or 'this machine'}"
        cure = "Name sources of Debian 12 in a file: make board BOARD_SOURCES=FILE"
        raise EdgeproofError(f"{what}: {error} {cure}") from None
    archives = sorted((state / "cache" / "archives").glob("*.deb"))
    for number, archive in enumerate(archives, 1):
        if sys.stderr.isatty():
            print(f"\r    unpacking {number} of {len(archives)}", end="", file=sys.stderr)
        run_program(["dpkg-deb", "-x", archive, out])
    if sys.stderr.isatty():
        print(file=sys.stderr)
    write_json(out / PACKAGE_LIST, [archive.name for archive in archives])
    shutil.rmtree(state)
