"""Run nights on three simulated boards that fail at random. Each is a network namespace with its own sshd and disk.

    sudo .venv/bin/python -m tests.fault_nights --nights 67 --seed 0

It needs root, ip, gcc and sshd (Debian's iproute2, gcc, openssh-server). While the farm measures, links are cut,
servers and runners are killed or stopped, disks filled, clocks stepped, files corrupted, and results replaced by false
ones. Afterwards the history must have every session with every job once, and every valid record must be true.
Otherwise the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from edgeproof.config import compose, params_file
from edgeproof.config.params import BenchParams, Params
from edgeproof.farm import engines, journal, quarantine
from edgeproof.progress import Progress
from edgeproof.records import record as records_record
from edgeproof.records import record_files
from tests.support import bench_project

NAMES = ("attic", "barn", "cellar")
DISK_MIB = 48
TIMEOUT_S = 20
NIGHT_S = 600.0
# Adds the seconds in a file to the settable clock. The monotonic clock is not changed, as on a real board.
STEPPED_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, at);
    const char *path = getenv("CLOCK_OFFSET");
    if (clock == CLOCK_REALTIME && path) {
        FILE *file = fopen(path, "r");
        long seconds = 0;
        if (file) { if (fscanf(file, "%ld", &seconds) == 1) at->tv_sec += seconds; fclose(file); }
    }
    return result;
}
"""
FARM = """
import sys
from pathlib import Path
from edgeproof import entry
from edgeproof.config import params_file
from edgeproof.farm import dispatcher, engines
from edgeproof.farm.engines import local
dispatcher.FIRST_PAUSE_S, local.SESSION_MODULE = 0.2, "tests.support.undisturbed_session"
study = params_file.read_params(engines.FARM / sys.argv[1] / engines.PARAMS)
engine = engines.start_engine("local", sys.argv[1], Path(), study, None)
entry.run(lambda: 0 if set(dispatcher.run_study(study, sys.argv[1], engine, print).values()) == {"done"} else 1)
"""
EXPECTED = {
    ("null", "fp32", "single_stream"), ("matrix", "fp32", "accuracy"), ("matrix", "fp32", "single_stream"),
    ("matrix", "int8-static", "unsupported"),
}  # fmt: skip


@dataclass
class Board:
    """A network namespace with a link to this host, an sshd, a home on a small disk, and a settable clock."""

    name: str
    number: int
    root: Path
    server: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.root / self.name / "home"

    @property
    def address(self) -> str:
        return f"10.77.{self.number}.2"

    def build(self, clock: Path) -> None:
        """Create the namespace, its link and its disk, and start its server."""
        link = f"edgeproof{self.number}"
        for words in (
            f"ip netns add {self.name}",
            f"ip link add {link} type veth peer name board netns {self.name}",
            f"ip addr add 10.77.{self.number}.1/24 dev {link}",
            f"ip link set {link} up",
            f"ip -n {self.name} addr add {self.address}/24 dev board",
            f"ip -n {self.name} link set board up",
            f"ip -n {self.name} link set lo up",
        ):
            subprocess.run(words.split(), check=True)
        self.home.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(self.home)], check=True)
        keys = self.home.parent
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / "host")], check=True)
        (keys / "clock").write_text("0")
        (keys / "sshd_config").write_text(
            f"ListenAddress {self.address}\nHostKey {keys}/host\nAuthorizedKeysFile {self.root}/user.pub\n"
            "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n"
            f"ForceCommand cd {self.home} && export HOME={self.home} LD_PRELOAD={clock} CLOCK_OFFSET={keys}/clock && "
            'exec sh -c "$SSH_ORIGINAL_COMMAND"\n'
        )
        self.serve()

    def serve(self) -> None:
        """Start the server unless it runs."""
        if self.server is None or self.server.poll() is not None:
            sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
            command = ["ip", "netns", "exec", self.name, str(sshd), "-D", "-f", str(self.home.parent / "sshd_config")]
            self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def list_processes(self, word: str) -> list[int]:
        """Return the ids of the namespace's processes whose command line contains `word`."""
        output = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True).stdout
        pids = []
        for process in map(int, output.split()):
            with contextlib.suppress(OSError):
                if word.encode() in Path(f"/proc/{process}/cmdline").read_bytes():
                    pids.append(process)
        return pids

    def kill(self, word: str, number: signal.Signals) -> None:
        for process in self.list_processes(word):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def remove(self) -> None:
        self.kill("", signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", self.name], check=False)
        subprocess.run(["ip", "link", "del", f"edgeproof{self.number}"], check=False, capture_output=True)


# --- faults: each starts, lasts for a while, and ends ---------------------------------------------------------------

Chance = random.Random


def cut_link(board: Board, chance: Chance) -> None:
    link = f"edgeproof{board.number}"
    subprocess.run(["ip", "link", "set", link, "down"], check=True)
    time.sleep(chance.choice([0.3, 3, 25]))
    subprocess.run(["ip", "link", "set", link, "up"], check=True)


def kill_server(board: Board, chance: Chance) -> None:
    board.kill("sshd", signal.SIGKILL)
    time.sleep(chance.uniform(0, 3))
    board.serve()


def kill_runner(board: Board, chance: Chance) -> None:
    until = time.monotonic() + 5
    while not board.list_processes("runner-") and time.monotonic() < until:
        time.sleep(0.01)
    board.kill("runner-", signal.SIGKILL)


def hang_board(board: Board, chance: Chance) -> None:
    board.kill("runner-", signal.SIGSTOP)
    time.sleep(chance.choice([0.5, 5, TIMEOUT_S + 5]))
    board.kill("runner-", signal.SIGCONT)


def fill_disk(board: Board, chance: Chance) -> None:
    with contextlib.suppress(OSError), (board.home / "full").open("wb") as file:
        while True:
            file.write(bytes(1 << 20))
    time.sleep(chance.uniform(0.5, 4))
    (board.home / "full").unlink()


def step_clock(board: Board, chance: Chance) -> None:
    (board.home.parent / "clock").write_text(str(chance.choice([-3600, -5, 5, 3600, 86400 * 365])))
    time.sleep(chance.uniform(0.2, 4))
    (board.home.parent / "clock").write_text("0")


def corrupt_file(board: Board, chance: Chance) -> None:
    files = sorted(path for path in board.home.rglob("*") if path.is_file() and path.stat().st_size)
    if files:
        path = chance.choice(files)
        with contextlib.suppress(OSError), path.open("r+b") as file:
            file.seek(chance.randrange(path.stat().st_size))
            file.write(bytes([chance.randrange(256)]))


def _get_log(result: dict[str, Any]) -> dict[str, Any]:
    """Return LoadGen's log, or {} if the result is false already."""
    log = result.get("loadgen")
    return log if isinstance(log, dict) else {}


FALSE_RESULTS: list[Callable[[dict[str, Any]], bytes]] = [
    lambda result: b"",
    lambda result: json.dumps(result).encode()[:-9],
    lambda result: b"[" * 100_000,
    lambda result: json.dumps({**result, "padding": "x" * (8 << 20)}).encode(),
    lambda result: json.dumps({"status": "done"}).encode(),
    lambda result: json.dumps({**result, "loadgen": "fast"}).encode(),
    lambda result: json.dumps({**result, "loadgen": {**_get_log(result), "result_query_count": 10**9}}).encode(),
    lambda result: json.dumps({**result, "loadgen": {**_get_log(result), "result_validity": "INVALID"}}).encode(),
    lambda result: json.dumps(result).replace("1", "NaN").encode(),
]


def falsify_results(board: Board, chance: Chance) -> None:
    """Replace the next results as soon as they are written."""
    until = time.monotonic() + chance.uniform(2, 8)
    replaced: set[Path] = set()
    while time.monotonic() < until:
        for path in board.home.rglob("result.json"):
            if path not in replaced:
                with contextlib.suppress(OSError, ValueError):
                    result = json.loads(path.read_text())
                    path.write_bytes(chance.choice(FALSE_RESULTS)(result))
                    replaced.add(path)
        time.sleep(0.005)


FAULTS = [
    cut_link, kill_server, kill_runner, hang_board, fill_disk, step_clock, corrupt_file, falsify_results,
]  # fmt: skip


# --- a night -------------------------------------------------------------------------------------------------------


def write_boards_project(root: Path, boards: list[Board]) -> None:
    """Write a project with one matrix, a card for every board, and an ssh client that knows them."""
    project = root / "project"
    (project / "plugins" / "tasks").mkdir(parents=True)
    (project / "plugins" / "runtimes").mkdir()
    bench_project.write_project(project)
    hosts = [
        f"Host {board.name}\n  HostName {board.address}\n  User root\n  IdentityFile {root}/user\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {root}/known_hosts\n"
        for board in boards
    ]
    (root / "ssh_config").write_text("\n".join(hosts))
    known = [f"{board.address} {(board.home.parent / 'host.pub').read_text()}" for board in boards]
    (root / "known_hosts").write_text("".join(known))
    program = root / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {shlex.quote(str(root))}/ssh_config "$@"\n')
    program.chmod(0o755)
    for board in boards:
        card = {"transport": "ssh", "host": board.name, "threads": 1, "python": sys.executable, "timeout_s": TIMEOUT_S}
        (project / "devices" / f"{board.name}.yaml").write_text(yaml.safe_dump(card))
    os.environ["PATH"] = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["EDGEPROOF_PLUGINS"] = str(project / "plugins")
    os.environ["TMPDIR"] = str(root)
    tempfile.tempdir = None


def compose_study(base: Params, number: int) -> Params:
    """Return a study with one session on each board."""
    chosen = bench_project.build_study(base, transport="ssh", seeds=[4])
    single = bench_project.ITEM["every"]
    content = {**bench_project.ITEM, "transport": "ssh", "seeds": [4], "all": single, "final": {}, "session": number}
    items = {f"{name}_matrix": BenchParams.model_validate({**content, "device": name}) for name in NAMES}
    return chosen.model_copy(update={"bench": items})


def start_farm(name: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, "-c", FARM, name], stdout=file, stderr=file)


def inject(boards: list[Board], chance: Chance, counted: Counter[str], stop: threading.Event) -> list[threading.Thread]:
    """Start two to six faults at random moments, in parallel."""

    def run_fault(fault: Callable[[Board, Chance], None], board: Board, after_s: float, own: Chance) -> None:
        if not stop.wait(after_s):
            counted[fault.__name__] += 1
            with contextlib.suppress(FileNotFoundError):  # its target no longer exists
                fault(board, own)

    threads = []
    for _ in range(chance.randint(2, 6)):
        chosen = chance.choice(FAULTS), chance.choice(boards), chance.uniform(0, 12), Chance(chance.random())
        threads.append(threading.Thread(target=run_fault, args=chosen))
        threads[-1].start()
    return threads


def find_errors(name: str) -> Iterator[str]:
    """Yield a line for everything that a night must not leave."""
    done = {job for job, event in journal.latest_by_job(journal.read(engines.FARM / name / engines.JOURNAL)).items()}
    for board in NAMES:
        place = engines.HISTORY / name / f"{board}_matrix"
        records = list(record_files.read_all(place))
        jobs = Counter((r.content["runtime"], r.content["scheme"], r.content["scenario"]) for r in records)
        if set(jobs) != EXPECTED or f"{board}_matrix" not in done:
            yield f"{place}: {sorted(jobs)} instead of every job"
        attempts = Counter((r.content["runtime"], r.content["scenario"], r.content["attempt"]) for r in records)
        yield from (f"{place}: {job} {count} times" for job, count in attempts.items() if count > 1)
        for record in records:
            yield from (f"{record.directory}: {claim}" for claim in find_false_claims(record))


def find_false_claims(record: records_record.Record) -> Iterator[str]:
    """Yield what a valid record claims falsely, or that a refused one has no reason."""
    content = record.content
    if record.verdict != "valid":
        if not content["reasons"]:
            yield "no reason"
        return
    if content["scenario"] == "accuracy":
        quality = record.quality
        if quality is None or (quality.correct, quality.units) != (40, 50):
            yield f"quality {quality}"
    if content["scenario"] == "single_stream":
        durations, log = record.read_array("latencies.npz", "call_ns"), content["result"]["loadgen"]
        if len(durations) != log["result_query_count"]:
            yield f"{len(durations)} durations of {log['result_query_count']} queries"
        if durations.min() <= 0 or durations.max() > NIGHT_S * 1e9:
            yield f"durations from {durations.min()} to {durations.max()} ns"


def run_night(number: int, boards: list[Board], base: Params, chance: Chance, counted: Counter[str]) -> list[str]:
    """Run one night with faults, and return a line for every error in its results."""
    name = f"night-{number}"
    params_file.write_params(compose_study(base, number), "fault_nights", engines.FARM / name / engines.PARAMS)
    stop = threading.Event()
    log = engines.FARM / name / "farm.log"
    process = start_farm(name, log)
    threads = inject(boards, chance, counted, stop)
    if chance.random() < 0.25:  # in one of four nights the farm itself is killed
        time.sleep(chance.uniform(0.3, 10))
        process.kill()
        process.wait()
        counted["farm_killed"] += 1
        process = start_farm(name, log)
    try:
        process.wait(NIGHT_S)
        errors = []
    except subprocess.TimeoutExpired:
        process.kill()
        errors = [f"{name}: not ended after {NIGHT_S:.0f} s"]
    stop.set()
    for thread in threads:
        thread.join()
    for device in quarantine.list_devices():
        quarantine.release(device)
        counted["quarantined"] += 1
    return errors + list(find_errors(name))


def main() -> int:
    """Run the nights, and print the injected faults, the verdicts and all errors. Return 1 if there is an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=67)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # Run in a mount namespace of our own, so that all mounts end with this program.
    if os.environ.get("FAULT_NIGHTS") != "inside":
        os.environ["FAULT_NIGHTS"] = "inside"
        os.execvp("unshare", ["unshare", "-m", sys.executable, "-m", "tests.fault_nights", *sys.argv[1:]])
    os.environ["PYTHONPATH"] = str(Path.cwd())
    base = compose.compose("digits", [])
    root = Path(tempfile.mkdtemp(prefix="nights-"))
    boards = [Board(name, number, root) for number, name in enumerate(NAMES, 1)]
    counted: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    errors: list[str] = []
    try:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / "user")], check=True)
        (root / "clock.c").write_text(STEPPED_CLOCK)
        clock = root / "clock.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(clock), str(root / "clock.c"), "-ldl"], check=True)
        for board in boards:
            board.build(clock)
        write_boards_project(root, boards)
        os.chdir(root / "project")
        chance = random.Random(arguments.seed)
        with Progress("nights", arguments.nights) as progress:
            for number in range(arguments.nights):
                errors += run_night(number, boards, base, chance, counted)
                verdicts.update(r.verdict for r in record_files.read_all(engines.HISTORY / f"night-{number}"))
                progress.advance()
    finally:
        for board in boards:
            board.remove()
    sessions = arguments.nights * len(NAMES)
    print(f"{sessions} sessions on {len(NAMES)} boards; injected: {dict(counted)}; records: {dict(verdicts)}; "
          f"{len(errors)} errors; kept in {root}")  # fmt: skip
    print("\n".join(errors))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
