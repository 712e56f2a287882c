"""Kill the host, the link or the device at random moments of deployments and rollbacks, then repeat the command.

    .venv/bin/python -m tests.fault_deployments --moments 100 --seed 0               # a device that is this machine
    .venv/bin/python -m tests.fault_deployments --moments 100 --seed 0 --over ssh    # through an sshd on loopback

After every kill, the device must run one version that is verified, the one before or the new one. The same command
again must finish the work. Otherwise the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml

from edgeproof.cli import main as command
from edgeproof.core.directories import hash_file
from edgeproof.core.errors import EdgeproofError
from edgeproof.deployed import manifest
from edgeproof.deployment import device_deployment, limits
from tests.support import boards, deployment_project
from tests.support.deployment_project import SIGNER, name_version

Victim = Literal["host", "device", "link", "host and link"]
VICTIMS: tuple[Victim, ...] = ("host", "device", "link", "host and link")
# Two versions whose program is fast, and one that infers for some seconds of a busy machine.
VERSIONS = ("v1", "v2", "v4")
DEVICE = "board"
MAX_REPEATS = 3
SETTLE_S = 60.0
POLL_S = 0.01
# The share of the kills that wait for the device's program to change something.
WORKING_SHARE = 0.75
CHANGES = re.compile(rb'"verb": "(activate|rollback)"')
CUT_LINK = [{"call": call, "fault": "link cut"} for call in ("push", "run")]


@dataclass
class Bench:
    """A project with one device, and what happened there.

    Attributes:
        root: the project.
        home: edgeproof's directory on the device.
        cut_link: breaks the link at once.
        restore_link: lets the link work again.
        counted: the moments by victim, and by what ran afterwards.
        errors: everything that must not happen.
    """

    root: Path
    home: Path
    cut_link: Callable[[], None]
    restore_link: Callable[[], None]
    counted: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def read_running(self) -> str | None:
        """Return the version that runs, or None. A version that is not verified is an error."""
        link = self.home / "deployment/current"
        if not link.is_symlink():
            return None
        place = link.resolve() / "bundle"
        problems = manifest.find_problems(place, SIGNER)
        if problems:
            self.errors.append(f"the device runs an unverified version: {problems}")
            return "unverified"
        digest = hash_file(place / "MANIFEST.json")
        return next(v for v in VERSIONS if hash_file(self.root / "bundles" / v / "MANIFEST.json") == digest)

    def list_processes(self) -> list[int]:
        """Return the processes that work in the device's directory."""
        processes = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (path / "cwd").resolve() == self.home.resolve() and (path / "cmdline").read_bytes():
                    processes.append(int(path.name))
        return processes

    def kill_device(self) -> None:
        """Kill all processes of the device."""
        for process in self.list_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def wait_for_device(self) -> None:
        """Wait until the device has finished what it may still be doing without its host."""
        until_s = time.monotonic() + SETTLE_S
        while any(b".pyz" in _read_command(process) for process in self.list_processes()):
            if time.monotonic() > until_s:
                self.errors.append("a process of the device does not end")
                self.kill_device()
            time.sleep(POLL_S)


def run_moments(bench: Bench, moments: int, chance: random.Random, victims: Sequence[Victim] = VICTIMS) -> None:
    """Deploy a first version, then kill at random moments, and note everything that must not happen."""
    for version in ("v2", "v1"):
        started_s = time.monotonic()
        run_command(bench, deploy(version))
    # Not the first one, in which this process loads modules and the link is opened.
    duration_s, current, previous = time.monotonic() - started_s, "v1", "v2"
    for number in range(moments):
        is_rollback = previous is not None and chance.random() < 0.25
        target = str(previous) if is_rollback else chance.choice([v for v in VERSIONS if v != current])
        words = ["rollback", "--devices", DEVICE] if is_rollback else deploy(target)
        victim = victims[number % len(victims)]
        where = f"moment {number}: {victim} killed, {words[0]} from {current} to {target}"
        kill_once(bench, words, victim, chance.random() < WORKING_SHARE, chance.uniform(0, duration_s))
        if (running := bench.read_running()) not in (current, target):
            bench.errors.append(f"{where}: the device runs {running}")
        bench.counted[f"{victim}: the {'new' if running == target else 'old'} version ran"] += 1
        for _ in range(MAX_REPEATS):
            if run_command(bench, words) == 0:
                break
        else:
            bench.errors.append(f"{where}: the same command does not finish")
        if (running := bench.read_running()) != target:
            bench.errors.append(f"{where}: the same command leaves {running}")
        if (kept := len(list((bench.home / "deployment/versions").iterdir()))) > 2:
            bench.errors.append(f"{where}: {kept} versions on the device")
        current, previous = target, None if is_rollback else current
    if run_command(bench, ["deployed"]) != 0:
        bench.errors.append("'edgeproof deployed' does not agree with the device")


def kill_once(bench: Bench, words: Sequence[str], victim: Victim, when_working: bool, delay_s: float) -> None:
    """Run a command, kill the victim after a delay, and wait until everything else has ended.

    With `when_working`, the delay begins when the device changes something.
    """
    host = start_host(bench, words)
    until_s = time.monotonic() + delay_s
    while when_working and time.monotonic() < until_s + SETTLE_S:
        if any(CHANGES.search(_read_command(process)) for process in bench.list_processes()):
            delay_s = delay_s / 2
            break
        if os.waitid(os.P_PID, host, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            break
    time.sleep(delay_s)
    if "link" in victim:
        bench.cut_link()
    if "host" in victim:
        os.killpg(host, signal.SIGKILL)
    if victim == "device":
        bench.kill_device()
    os.waitpid(host, 0)
    bench.read_running()
    bench.wait_for_device()
    bench.restore_link()


def run_command(bench: Bench, words: Sequence[str]) -> int:
    """Run a command of edgeproof in a process of its own and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(start_host(bench, words), 0)[1])


def start_host(bench: Bench, words: Sequence[str]) -> int:
    """Start a command of edgeproof in a process group of its own. Its output is appended to the project's log."""
    pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):  # the child does the same
            os.setpgid(pid, pid)
        return pid
    code = 2
    try:
        os.setpgid(0, 0)
        sys.stdout = sys.stderr = (bench.root / "log.txt").open("a", encoding="utf-8")
        code = command.run(words)
    except EdgeproofError as error:
        print(f"error: {error}", flush=True)
    finally:
        os._exit(code)


def deploy(version: str) -> list[str]:
    """Return the command that deploys a version."""
    return ["deploy", name_version(version), "--devices", DEVICE, "--bundle", f"bundles/{version}"]


def open_fake(root: Path) -> Bench:
    """Return the bench of a fake device."""
    home = root / ".edgeproof/devices" / DEVICE
    home.mkdir(parents=True)
    faults = home / "faults.yaml"

    def cut() -> None:
        partial = faults.with_suffix(".part")
        partial.write_text(yaml.safe_dump(CUT_LINK))
        partial.replace(faults)

    return Bench(root, home, cut, lambda: faults.unlink(missing_ok=True))


def open_board(root: Path, server: int, scratch: Path) -> Bench:
    """Return the bench of a board behind an sshd on loopback. Killing ssh and the server's children cuts its link."""
    keys = str(scratch / "keys").encode()

    def cut() -> None:
        for path in Path("/proc").glob("[0-9]*"):
            process = int(path.name)
            is_client = keys in _read_command(process)
            if process not in (server, os.getpid()) and (is_client or _read_parent(process) == server):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    return Bench(root, scratch / "home/.edgeproof" / DEVICE, cut, lambda: None)


@contextlib.contextmanager
def open_bench(kind: str, bundles: Path, scratch: Path, patch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Yield a project with one device, in which the caller runs. `kind` is 'fake' or 'ssh'."""
    card = {"budget": {"latency_ms": 60_000}, "python": sys.executable, "transport": kind}
    root = scratch / "project"
    with contextlib.ExitStack() as stack:
        if kind == "ssh":
            server = stack.enter_context(boards.start_sshd(scratch, patch))
            deployment_project.write_project(root, bundles, {DEVICE: {**card, "host": "board"}})
            bench = open_board(root, server.pid, scratch)
        else:
            deployment_project.write_project(root, bundles, {DEVICE: card})
            bench = open_fake(root)
        patch.chdir(root)
        patch.setattr(device_deployment, "PAUSE_S", 0.0)
        patch.setattr(limits, "MEASURE_S", 0.01)
        yield bench


def _read_command(process: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def _read_parent(process: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def main() -> int:
    """Run the moments, and print the kills and all errors. Return 1 if there is an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--over", choices=["fake", "ssh"], default="fake")
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="deployments-"))
    with pytest.MonkeyPatch.context() as patch:
        (scratch / "first").mkdir()
        patch.chdir(scratch / "first")
        patch.setenv("EDGEPROOF_PLUGINS", str(scratch / "first/plugins"))
        bundles = deployment_project.write_bundles(scratch / "first", scratch / "first/plugins")
        with open_bench(arguments.over, bundles, scratch, patch) as bench:
            run_moments(bench, arguments.moments, random.Random(arguments.seed))
    for line, count in sorted(bench.counted.items()):
        print(f"{count:4d}  {line}")
    print(f"{arguments.moments} moments over {arguments.over}, {len(bench.errors)} errors; kept in {scratch}")
    print("\n".join(bench.errors))
    return 1 if bench.errors else 0


if __name__ == "__main__":
    sys.exit(main())
