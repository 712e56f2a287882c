"""Debian's packages, fetched by this machine's apt with a private state: nothing is installed, and root is not needed.

apt resolves the dependencies and checks the archive's signatures. The packages are only unpacked: no script of theirs
runs.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeproof.board.programs import describe_install, find_program, run_program
from edgeproof.board.steps import BOARD, build_step
from edgeproof.core.directories import write_json
from edgeproof.core.errors import ConfigError, EdgeproofError

BOARD_ARCHITECTURE = "arm64"
HOST_STATUS = Path("/var/lib/dpkg/status")
PACKAGE_LIST = "packages.json"
# The programs that build and run the board, with the packages that contain them.
TOOL_PACKAGES = {
    "qemu-system-aarch64": "qemu-system-arm",
    "aarch64-linux-gnu-g++": "g++" if platform.machine() == "aarch64" else "g++-aarch64-linux-gnu",
    "mke2fs": "e2fsprogs",
}
# The board's system. The versions of Python and of the kernel are those of Debian 12.
BOARD_PACKAGES = (
    *("linux-image-cloud-arm64", "busybox-static", "dash", "coreutils", "findutils", "tar", "gzip", "base-files"),
    *("openssh-server", "python3.11", "libpython3.11-dev", "libgomp1", "libstdc++6", "zlib1g"),
)


def fetch_tools(sources: Path | None) -> Path:
    """Return the directory of the tools that this machine lacks, with their dependencies.

    `sources` is a sources.list to use in place of this machine's. Raises ConfigError when apt or ssh is missing.
    """
    for program in ("apt-get", "dpkg-deb", "ssh", "ssh-keygen"):
        if find_program(program) is None:
            raise ConfigError(f"{program} is not on this machine. {describe_install(program)}")
    packages = [package for program, package in TOOL_PACKAGES.items() if find_program(program) is None]
    return build_step(
        "tools",
        {"packages": packages, "sources": _read_sources(sources)},
        lambda out: _unpack(packages, out, None, sources),
        f"fetching {', '.join(packages) or 'nothing: all tools are installed'}",
    )


def fetch_system(sources: Path | None) -> Path:
    """Return the directory of the board's Debian: kernel, Python with its headers, and an ssh server."""
    return build_step(
        "system",
        {"packages": list(BOARD_PACKAGES), "sources": _read_sources(sources)},
        lambda out: _unpack(BOARD_PACKAGES, out, BOARD_ARCHITECTURE, sources),
        f"fetching Debian for {BOARD_ARCHITECTURE} (100 MB)",
    )


def _read_sources(sources: Path | None) -> str | None:
    return None if sources is None else sources.read_text(encoding="utf-8")


def _unpack(packages: Sequence[str], out: Path, architecture: str | None, sources: Path | None) -> None:
    """Unpack packages with all their dependencies.

    With `architecture` None they are this machine's packages, without those that it has installed.
    """
    if not packages:
        write_json(out / PACKAGE_LIST, [])
        return
    state = BOARD / f"apt-{architecture or 'host'}"
    for directory in ("lists/partial", "cache/archives/partial"):
        (state / directory).mkdir(parents=True, exist_ok=True)
    if architecture is None:
        shutil.copyfile(HOST_STATUS, state / "status")
    else:
        (state / "status").write_text("", encoding="utf-8")
    apt = _make_apt_command(state, architecture, sources)
    run_program([*apt, "update"])
    try:
        run_program([*apt, "--download-only", "install", *packages])
    except EdgeproofError as error:
        raise EdgeproofError(
            f"apt offers no {' '.join(packages)} for {architecture or 'this machine'}: {error} "
            "Name sources of Debian 12 in a file: make board BOARD_SOURCES=FILE"
        ) from None
    archives = sorted((state / "cache" / "archives").glob("*.deb"))
    for number, archive in enumerate(archives, 1):
        if sys.stderr.isatty():
            print(f"\r    unpacking {number} of {len(archives)}", end="", file=sys.stderr)
        run_program(["dpkg-deb", "-x", archive, out])
    if sys.stderr.isatty():
        print(file=sys.stderr)
    write_json(out / PACKAGE_LIST, [archive.name for archive in archives])
    shutil.rmtree(state)


def _make_apt_command(state: Path, architecture: str | None, sources: Path | None) -> list[str]:
    """Return an apt-get command whose state and cache are all below `state`."""
    options: dict[str, object] = {
        "Dir::State::Lists": (state / "lists").resolve(),
        "Dir::State::status": (state / "status").resolve(),
        "Dir::State::extended_states": (state / "extended").resolve(),
        "Dir::Cache": (state / "cache").resolve(),
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": "0",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "1",
    }
    if architecture is not None:
        options |= {"APT::Architecture": architecture, "APT::Architectures": architecture}
    if sources is not None:
        options |= {"Dir::Etc::sourcelist": sources.resolve(), "Dir::Etc::sourceparts": "-"}
    return ["apt-get", "-q", "-y", *(f"-o{name}={value}" for name, value in options.items())]
