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
from edgeproof.board.steps import BOARD, find_program, hash_step, run_program
from edgeproof.core.directories import write_json, write_text
from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import WORK

DEVICE = "board"
SSH_ALIAS = "edgeproof-board"
PORT = 22022
CORES = 2
MEMORY_MIB = 2048
BOOT_TIMEOUT_S = 300.0
SHUTDOWN_TIMEOUT_S = 30.0
PID_FILE = "qemu.pid"
CONSOLE_FILE = "console.log"
CONFIG_FILE = "running.json"
KNOWN_HOSTS_FILE = "known_hosts"
# Where the transport of a device looks for an ssh configuration of its own.
SSH_CONFIG = WORK / "devices" / DEVICE / "ssh_config"
_SSH_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class MachineConfig:
    """What the board is started with."""

    memory_mib: int = MEMORY_MIB
    port: int = PORT
    disk: str = ""


def start(asked: MachineConfig, disk: Path, tools: Path) -> None:
    """Start the board, unless it runs as asked, and wait until its ssh server answers. Raises EdgeproofError."""
    asked = MachineConfig(asked.memory_mib, asked.port, hash_step(disk))
    if find_running() != asked:
        stop()
        _start_qemu(asked, disk, tools)
    _wait_for_ssh()


def _start_qemu(asked: MachineConfig, disk: Path, tools: Path) -> None:
    qemu = find_program("qemu-system-aarch64", tools)
    if qemu is None:
        raise EdgeproofError("qemu-system-aarch64 is not on this machine. Install it: apt-get install qemu-system-arm")
    _write_ssh_files(asked, disk)
    own = debian.make_environment(tools) if tools in Path(qemu).parents else None
    run_program(make_qemu_command(qemu, asked, disk), environment=own, timeout_s=60)
    write_json(BOARD / CONFIG_FILE, asdict(asked))


def make_qemu_command(qemu: str, asked: MachineConfig, disk: Path) -> list[str]:
    """The command line: a Cortex-A53 board with a disk and a network that reaches nothing and is reached by ssh."""
    disk, place = disk.resolve(), BOARD.resolve()
    return [
        *(qemu, "-M", "virt", "-cpu", "cortex-a53", "-smp", str(CORES), "-m", f"{asked.memory_mib}M", "-nodefaults"),
        *("-kernel", str(disk / KERNEL), "-initrd", str(disk / INITRAMFS)),
        *("-append", "console=ttyAMA0 quiet psi=1 panic=-1", "-no-reboot", "-display", "none", "-monitor", "none"),
        *("-serial", f"file:{place / CONSOLE_FILE}"),
        *("-drive", f"if=none,id=disk,format=raw,file={_escape_commas(disk / IMAGE)}"),
        *("-device", "virtio-blk-device,drive=disk"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{asked.port}-:22"),
        *("-device", "virtio-net-device,netdev=net", "-pidfile", str(place / PID_FILE), "-daemonize"),
    ]


def _escape_commas(path: Path) -> str:
    """A comma ends an option of QEMU's unless it is doubled."""
    return str(path).replace(",", ",,")


def find_running() -> MachineConfig | None:
    """What the board that runs was started with; None where none does."""
    if _find_pid() is None:
        return None
    try:
        return MachineConfig(**json.loads((BOARD / CONFIG_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return MachineConfig(0, 0)


def stop() -> bool:
    """End the board; says whether one ran."""
    pid = _find_pid()
    if pid is None:
        return False
    ssh = ["ssh", "-F", str(SSH_CONFIG), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", SSH_ALIAS, "sync; poweroff"]
    until = time.monotonic()
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # one that can't be asked is killed below
        done = subprocess.run(ssh, stdin=subprocess.DEVNULL, capture_output=True, timeout=SHUTDOWN_TIMEOUT_S, check=False)
        until = time.monotonic() + (SHUTDOWN_TIMEOUT_S if done.returncode == 0 else 0)
    while _find_pid() == pid and time.monotonic() < until:
        time.sleep(0.2)
    if _find_pid() == pid:
        os.kill(pid, signal.SIGKILL)
    for name in (PID_FILE, CONFIG_FILE):
        (BOARD / name).unlink(missing_ok=True)
    return True


def _find_pid() -> int | None:
    """The board's process, known by the pid file that only its own command line names."""
    try:
        pid = int((BOARD / PID_FILE).read_text(encoding="ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str((BOARD / PID_FILE).resolve()).encode() in words else None


def _write_ssh_files(asked: MachineConfig, disk: Path) -> None:
    """Write how ssh reaches the board: its own key, and the host key that its disk was made with."""
    kind, key, *_ = (disk / f"{HOST_KEY}.pub").read_text(encoding="ascii").split()
    write_text(BOARD / KNOWN_HOSTS_FILE, f"{SSH_ALIAS} {kind} {key}\n")
    write_text(SSH_CONFIG, format_ssh_config(asked.port, (disk / USER_KEY).resolve(), (BOARD / KNOWN_HOSTS_FILE).resolve()))


def format_ssh_config(port: int, key: Path, known_hosts: Path) -> str:
    """An ssh configuration that knows the board and nothing else."""

    def quoted(path: Path) -> str:
        return '"' + str(path).replace("%", "%%") + '"'

    return f"""\
# Written by 'make board'.
Host {SSH_ALIAS}
    HostName 127.0.0.1
    Port {port}
    User root
    IdentityFile {quoted(key)}
    IdentitiesOnly yes
    UserKnownHostsFile {quoted(known_hosts)}
    GlobalKnownHostsFile none
    HostKeyAlias {SSH_ALIAS}
    StrictHostKeyChecking yes
"""


def _wait_for_ssh() -> None:
    """Until the board answers, or is known not to."""
    until = time.monotonic() + BOOT_TIMEOUT_S
    ssh = ["ssh", "-F", str(SSH_CONFIG), "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", SSH_ALIAS, "true"]
    said = ""
    while time.monotonic() < until:
        try:
            done = subprocess.run(ssh, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SSH_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            return
        said = done.stderr.decode(errors="replace").strip()
        if _find_pid() is None:
            break
        time.sleep(0.5)
    console = BOARD / CONSOLE_FILE
    last = console.read_text(encoding="utf-8", errors="replace").splitlines()[-5:] if console.is_file() else []
    state = "does not answer" if _find_pid() is not None else "ended"
    raise EdgeproofError(
        f"the board {state} ({said or 'ssh said nothing'}); its console, {console}, ends with: {' | '.join(last)}. "
        "'make board-down' ends it; a port in use is avoided by 'make board BOARD_PORT=22023'."
    )
