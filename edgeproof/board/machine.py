"""The emulated machine: a QEMU process of the user. Its ssh server is reachable only from this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edgeproof.board.disk import HOST_KEY, IMAGE, INITRAMFS, KERNEL, USER_KEY
from edgeproof.board.programs import find_program, make_library_environment, run_program
from edgeproof.board.steps import BOARD, hash_step
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
# The ssh transport reads this file for the device.
SSH_CONFIG = WORK / "devices" / DEVICE / "ssh_config"
_SSH_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class MachineConfig:
    """Settings of the emulated machine. `disk` identifies the step that built its disk."""

    memory_mib: int = MEMORY_MIB
    port: int = PORT
    disk: str = ""


_CONFIG = TypeAdapter(MachineConfig)


def start(config: MachineConfig, disk: Path, tools: Path) -> None:
    """Start the board and wait until its ssh server answers. A board that runs with other settings is restarted.

    Raises EdgeproofError when it does not start.
    """
    config = MachineConfig(config.memory_mib, config.port, hash_step(disk))
    if find_running() != config:
        stop()
        _start_qemu(config, disk, tools)
    _wait_for_ssh()


def _start_qemu(config: MachineConfig, disk: Path, tools: Path) -> None:
    qemu = find_program("qemu-system-aarch64", tools)
    if qemu is None:
        raise EdgeproofError(
            "qemu-system-aarch64 is not on this machine. Install it with 'apt-get install qemu-system-arm'."
        )
    _write_ssh_files(config, disk)
    environment = make_library_environment(qemu, tools)
    run_program(make_qemu_command(qemu, config, disk), environment=environment, timeout_s=60)
    write_json(BOARD / CONFIG_FILE, asdict(config))


def make_qemu_command(qemu: str, config: MachineConfig, disk: Path) -> list[str]:
    """Return QEMU's command line: a Cortex-A53 with a disk, and a network that only lets ssh in and nothing out."""
    disk, state = disk.resolve(), BOARD.resolve()
    return [
        *(qemu, "-M", "virt", "-cpu", "cortex-a53", "-smp", str(CORES), "-m", f"{config.memory_mib}M", "-nodefaults"),
        *("-kernel", str(disk / KERNEL), "-initrd", str(disk / INITRAMFS)),
        *("-append", "console=ttyAMA0 quiet psi=1 panic=-1", "-no-reboot", "-display", "none", "-monitor", "none"),
        *("-serial", f"file:{state / CONSOLE_FILE}"),
        *("-drive", f"if=none,id=disk,format=raw,file={_escape_commas(disk / IMAGE)}"),
        *("-device", "virtio-blk-device,drive=disk"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{config.port}-:22"),
        *("-device", "virtio-net-device,netdev=net", "-pidfile", str(state / PID_FILE), "-daemonize"),
    ]


def _escape_commas(path: Path) -> str:
    """Double the commas, since a single one ends an option of QEMU."""
    return str(path).replace(",", ",,")


def find_running() -> MachineConfig | None:
    """Return the settings of the running board, or None if it does not run. Unreadable settings become zeros."""
    if _find_pid() is None:
        return None
    try:
        return _CONFIG.validate_json((BOARD / CONFIG_FILE).read_bytes(), strict=True)
    except (OSError, ValidationError):
        return MachineConfig(0, 0)


def stop() -> bool:
    """Stop the board: shut it down, or kill it if it does not answer. Return whether it ran."""
    pid = _find_pid()
    if pid is None:
        return False
    ssh = ["ssh", "-F", str(SSH_CONFIG), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", SSH_ALIAS, "sync; poweroff"]
    deadline_s = time.monotonic()
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        process = subprocess.run(
            ssh, stdin=subprocess.DEVNULL, capture_output=True, timeout=SHUTDOWN_TIMEOUT_S, check=False
        )
        deadline_s = time.monotonic() + (SHUTDOWN_TIMEOUT_S if process.returncode == 0 else 0)
    while _find_pid() == pid and time.monotonic() < deadline_s:
        time.sleep(0.2)
    if _find_pid() == pid:
        os.kill(pid, signal.SIGKILL)
    for name in (PID_FILE, CONFIG_FILE):
        (BOARD / name).unlink(missing_ok=True)
    return True


def _find_pid() -> int | None:
    """Return the process id of the board. A process is the board only if its command line names the pid file."""
    try:
        pid = int((BOARD / PID_FILE).read_text(encoding="ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str((BOARD / PID_FILE).resolve()).encode() in words else None


def _write_ssh_files(config: MachineConfig, disk: Path) -> None:
    """Write the ssh configuration, with the user's key and the host key that the disk was built with."""
    kind, key, *_ = (disk / f"{HOST_KEY}.pub").read_text(encoding="ascii").split()
    write_text(BOARD / KNOWN_HOSTS_FILE, f"{SSH_ALIAS} {kind} {key}\n")
    write_text(
        SSH_CONFIG, format_ssh_config(config.port, (disk / USER_KEY).resolve(), (BOARD / KNOWN_HOSTS_FILE).resolve())
    )


def format_ssh_config(port: int, key: Path, known_hosts: Path) -> str:
    """Return an ssh configuration that has the board as its only host."""

    def quote(path: Path) -> str:
        return '"' + str(path).replace("%", "%%") + '"'

    return f"""\
# Written by 'make board'.
Host {SSH_ALIAS}
    HostName 127.0.0.1
    Port {port}
    User root
    IdentityFile {quote(key)}
    IdentitiesOnly yes
    UserKnownHostsFile {quote(known_hosts)}
    GlobalKnownHostsFile none
    HostKeyAlias {SSH_ALIAS}
    StrictHostKeyChecking yes
"""


def _wait_for_ssh() -> None:
    """Wait until the board answers. Raises EdgeproofError when it ends or does not answer in time."""
    deadline_s = time.monotonic() + BOOT_TIMEOUT_S
    ssh = ["ssh", "-F", str(SSH_CONFIG), "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", SSH_ALIAS, "true"]
    error = ""
    while time.monotonic() < deadline_s:
        try:
            process = subprocess.run(
                ssh, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SSH_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            continue
        if process.returncode == 0:
            return
        error = process.stderr.decode(errors="replace").strip()
        if _find_pid() is None:
            break
        time.sleep(0.5)
    console = BOARD / CONSOLE_FILE
    last_lines = console.read_text(encoding="utf-8", errors="replace").splitlines()[-5:] if console.is_file() else []
    state = "does not answer" if _find_pid() is not None else "has ended"
    raise EdgeproofError(
        f"the board {state} ({error or 'ssh printed nothing'}). Its console {console} ends with: "
        f"{' | '.join(last_lines)}. Stop it with 'make board-down'. If its port is in use, choose another one: "
        "'make board BOARD_PORT=22023'."
    )
