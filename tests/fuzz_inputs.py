"""Fuzz the command line: malformed inputs of every kind must end with a message and an exit code, within a limit.

    python -m tests.fuzz_inputs --count 1000 --seed 0

Each input is damaged by a generator of its own, so `--first 17 --count 1` with the same seed and kinds repeats one. A
failure is a traceback, a crash, a hang, control characters in the output, an unknown exit code, a silent failure, or
success where the input cannot be used. Exits with 1 if there are any, and keeps their directories.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from edgeproof import entry
from edgeproof.bench import external
from edgeproof.cli import main as command_line
from edgeproof.cli import sweep as _sweep  # noqa: F401 - imported before the forks, because Hydra takes a second
from tests.support.fuzz_cases import KINDS, MODEL_SUFFIXES, Case
from tests.support.fuzz_project import write_seeds
from tests.support.verdict_limits import TOLERANT

LIMIT_S = 20.0
POLL_S = 0.01
# Kinds that load an engine or a framework, for one of which there are FAST_ROUNDS + 1 inputs of each other kind.
SLOW_KINDS = ("npz", *(suffix.removeprefix(".") for suffix in MODEL_SUFFIXES))
FAST_ROUNDS = 3
# 3: a bundle that was refused on the board.
EXIT_CODES = (0, 1, 2, 3)
CRASHED = 70
SHOWN_CHARACTERS = 400
STDOUT, STDERR = "fuzz.stdout", "fuzz.stderr"


@dataclass(frozen=True)
class Ending:
    """The end of a command. `code` is None if it was killed at the limit, negative for a signal."""

    code: int | None
    stdout: str
    stderr: str
    duration_s: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run the inputs and print the counts of each kind; return 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="number of inputs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all inputs (default: %(default)s)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of inputs (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input (default: %(default)s)")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="limit of each input (default: %(default)g)")
    arguments = parser.parse_args(argv)
    kinds = arguments.kinds.split(",")
    root = Path(tempfile.mkdtemp(prefix="edgeproof-fuzz-"))
    suffixes = [suffix for suffix in MODEL_SUFFIXES if suffix[1:] in kinds or (suffix == ".onnx" and "npz" in kinds)]
    write_seeds(root / "seeds", suffixes)
    numbers = range(arguments.first, arguments.first + arguments.count)
    cycle = [kind for kind in kinds if kind not in SLOW_KINDS] * FAST_ROUNDS + kinds
    counts, failures = run_inputs(root, cycle, numbers, arguments.seed, arguments.limit_s)
    for kind in kinds:
        endings = ", ".join(f"{count} {ending}" for (name, ending), count in sorted(counts.items()) if name == kind)
        print(f"{kind}: {endings or 'no input'}")
    print(f"{counts.total()} inputs, {failures} failure(s)")
    if not failures:
        shutil.rmtree(root)
    return 1 if failures else 0


def run_inputs(
    root: Path, cycle: Sequence[str], numbers: Sequence[int], seed: int, limit_s: float
) -> tuple[Counter[tuple[str, str]], int]:
    """Run inputs by their numbers, with the kinds of `cycle` again and again.

    Returns the counts of endings by kind, and the number of failures.
    """
    counts: Counter[tuple[str, str]] = Counter()
    failures = 0
    for number in numbers:
        kind = cycle[number % len(cycle)]
        place = root / f"{kind}-{number}"
        case = KINDS[kind](random.Random(f"{seed} {kind} {number}"), root / "seeds", place)
        ending = run_case(case, limit_s)
        failure = find_failure(case, ending)
        counts[kind, failure or f"ended with {ending.code}"] += 1
        if failure:
            failures += 1
            text = ascii((ending.stderr.strip() or ending.stdout.strip())[-SHOWN_CHARACTERS:])
            words = ascii(" ".join(case.program or case.argv))[:200]
            print(
                f"{kind} {number} ({ending.duration_s:.1f} s): {failure}\n  in {place}: {words}\n  {text}", flush=True
            )
        else:
            shutil.rmtree(place, ignore_errors=True)
    return counts, failures


def run_case(case: Case, limit_s: float) -> Ending:
    """Run a command in a process of its own, which is killed at the limit with all that it started."""
    started = time.monotonic()
    child = os.fork()
    if not child:
        _run_child(case)
    status = None
    while status is None and time.monotonic() - started < limit_s:
        pid, ended = os.waitpid(child, os.WNOHANG)
        status = ended if pid else None
        time.sleep(0 if pid else POLL_S)
    if status is None:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    stdout, stderr = (
        (case.directory / name).read_bytes().decode("utf-8", "surrogateescape") for name in (STDOUT, STDERR)
    )
    code = None if status is None else os.waitstatus_to_exitcode(status)
    return Ending(code, stdout, stderr, time.monotonic() - started)


def find_failure(case: Case, ending: Ending) -> str:
    """Return the kind of failure, or '' for a command that behaved well."""
    output = ending.stdout + ending.stderr
    if ending.code is None:
        return "hang"
    if "Traceback (most recent call last)" in output or ending.code == CRASHED:
        return "traceback"
    if ending.code < 0:
        return f"crash by signal {-ending.code}"
    if ending.code not in EXIT_CODES:
        return f"exit code {ending.code}"
    if ending.code and not output.strip():
        return "no message"
    if any(letter in output for letter in "\x1b\x07\x08\x00\x9b\u202e"):
        return "control characters"
    return "false success" if case.must_fail and not ending.code else ""


def _run_child(case: Case) -> NoReturn:
    """Run a command like the program 'edgeproof' does, and end the process."""
    try:
        os.setsid()
        os.chdir(case.directory)
        for name, descriptor in ((STDOUT, 1), (STDERR, 2)):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.pop("EDGEPROOF_PLUGINS", None)
        os.environ |= case.environment
        if case.program:
            os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
            os.execv(case.program[0], case.program)
        if list(case.argv[:1]) == ["bench"]:
            _accept_disturbed_runs()
        entry.run(lambda: command_line.run(case.argv))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = CRASHED
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _accept_disturbed_runs() -> None:
    """Let benchmarks on a busy machine end at once, instead of repeating runs that other programs disturb."""
    external.measure_files = partial(external.measure_files, limits=TOLERANT)


if __name__ == "__main__":
    sys.exit(main())
