"""The emulated machine: a QEMU process of the user's own, and an ssh server on this machine's loopback alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeproof.board import debian
from edgeproof.board.disk import HOST_KEY, IMAGE, INITRAMFS, KERNEL, USER_KEY
from edgeproof.board.steps import BOARD, found, identity, run
from edgeproof.core.directories import write_json, write_text
from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import WORK

DEVICE = "board"
ALIAS = "edgeproof-board"
PORT = 22022
CORES = 2
MEMORY_MIB = 2048
BOOT_S = 300.0
OFF_S = 30.0
PID, CONSOLE, RUNNING, KNOWN_HOSTS = "qemu.pid", "console.log", "running.json", "known_hosts"
# Where the transport of a device looks for an ssh configuration of its own.
CONFIG = WORK / "devices" / DEVICE / "ssh_config"
_TRY_S = 30.0


@dataclass(frozen=True)
class Machine:
    """What the board is started with."""

    memory_mib: int = MEMORY_MIB
    port: int = PORT
    disk: str = ""


def up(asked: Machine, disk: Path, tools: Path) -> None:
    """Start the board, unless it runs as asked, and wait until its ssh server answers. Raises EdgeproofError."""
    asked = Machine(asked.memory_mib, asked.port, identity(disk))
    if running() != asked:
        down()
        _start(asked, disk, tools)
    _wait()


def _start(asked: Machine, disk: Path, tools: Path) -> None:
    qemu = found("qemu-system-aarch64", tools)
    if qemu is None:
        raise EdgeproofError("qemu-system-aarch64 is not on this machine. Install it: apt-get install qemu-system-arm")
    _configure(asked, disk)
    own = debian.environment(tools) if tools in Path(qemu).parents else None
    run(argv(qemu, asked, disk), environment=own, timeout_s=60)
    write_json(BOARD / RUNNING, asdict(asked))


def argv(qemu: str, asked: Machine, disk: Path) -> list[str]:
    """The command line: a Cortex-A53 board with a disk and a network that reaches nothing and is reached by ssh."""
    disk, place = disk.resolve(), BOARD.resolve()
    return [
        *(qemu, "-M", "virt", "-cpu", "cortex-a53", "-smp", str(CORES), "-m", f"{asked.memory_mib}M", "-nodefaults"),
        *("-kernel", str(disk / KERNEL), "-initrd", str(disk / INITRAMFS)),
        *("-append", "console=ttyAMA0 quiet psi=1 panic=-1", "-no-reboot", "-display", "none", "-monitor", "none"),
        *("-serial", f"file:{place / CONSOLE}"),
        *("-drive", f"if=none,id=disk,format=raw,file={_escaped(disk / IMAGE)}"),
        *("-device", "virtio-blk-device,drive=disk"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{asked.port}-:22"),
        *("-device", "virtio-net-device,netdev=net", "-pidfile", str(place / PID), "-daemonize"),
    ]


def _escaped(path: Path) -> str:
    """A comma ends an option of QEMU's unless it is doubled."""
    return str(path).replace(",", ",,")


def running() -> Machine | None:
    """What the board that runs was started with; None where none does."""
    if _pid() is None:
        return None
    try:
        return Machine(**json.loads((BOARD / RUNNING).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Machine(0, 0)


def down() -> bool:
    """End the board; says whether one ran."""
    pid = _pid()
    if pid is None:
        return False
    ssh = ["ssh", "-F", str(CONFIG), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", ALIAS, "sync; poweroff"]
    until = time.monotonic()
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # one that can't be asked is killed below
        done = subprocess.run(ssh, stdin=subprocess.DEVNULL, capture_output=True, timeout=OFF_S, check=False)
        until = time.monotonic() + (OFF_S if done.returncode == 0 else 0)
    while _pid() == pid and time.monotonic() < until:
        time.sleep(0.2)
    if _pid() == pid:
        os.kill(pid, signal.SIGKILL)
    for name in (PID, RUNNING):
        (BOARD / name).unlink(missing_ok=True)
    return True


def _pid() -> int | None:
    """The board's process, known by the pid file that only its own command line names."""
    try:
        pid = int((BOARD / PID).read_text(encoding="ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str((BOARD / PID).resolve()).encode() in words else None


def _configure(asked: Machine, disk: Path) -> None:
    """Write how ssh reaches the board: its own key, and the host key that its disk was made with."""
    kind, key, *_ = (disk / f"{HOST_KEY}.pub").read_text(encoding="ascii").split()
    write_text(BOARD / KNOWN_HOSTS, f"{ALIAS} {kind} {key}\n")
    write_text(CONFIG, ssh_config(asked.port, (disk / USER_KEY).resolve(), (BOARD / KNOWN_HOSTS).resolve()))


def ssh_config(port: int, key: Path, known_hosts: Path) -> str:
    """An ssh configuration that knows the board and nothing else."""

    def quoted(path: Path) -> str:
        return '"' + str(path).replace("%", "%%") + '"'

    return f"""\
# Written by 'make board'.
Host {ALIAS}
    HostName 127.0.0.1
    Port {port}
    User root
    IdentityFile {quoted(key)}
    IdentitiesOnly yes
    UserKnownHostsFile {quoted(known_hosts)}
    GlobalKnownHostsFile none
    HostKeyAlias {ALIAS}
    StrictHostKeyChecking yes
"""


def _wait() -> None:
    """Until the board answers, or is known not to."""
    until = time.monotonic() + BOOT_S
    ssh = ["ssh", "-F", str(CONFIG), "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", ALIAS, "true"]
    said = ""
    while time.monotonic() < until:
        try:
            done = subprocess.run(ssh, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRY_S, check=False)
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            return
        said = done.stderr.decode(errors="replace").strip()
        if _pid() is None:
            break
        time.sleep(0.5)
    console = BOARD / CONSOLE
    last = console.read_text(encoding="utf-8", errors="replace").splitlines()[-5:] if console.is_file() else []
    state = "does not answer" if _pid() is not None else "ended"
    raise EdgeproofError(
        f"the board {state} ({said or 'ssh said nothing'}); its console, {console}, ends with: {' | '.join(last)}. "
        "'make board-down' ends it; a port in use is avoided by 'make board BOARD_PORT=22023'."
    )
