"""Calls in a child process: results and errors return, and a failure of the process is an error with its signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeproof.artifacts import child_process
from edgeproof.artifacts.child_process import ChildFailure, ChildProcess
from edgeproof.core.errors import ConfigError, EdgeproofError, UnknownNameError, Unsupported

ROOT = Path(__file__).parents[3]


@pytest.fixture
def child() -> Iterator[ChildProcess]:
    with ChildProcess() as process:
        yield process


def exists(number: int) -> bool:
    """Return True if there is a process of this number."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def raise_config_error() -> None:
    raise UnknownNameError("runtime", "onx", ["onnx"], "Add one.")


def raise_unsupported() -> None:
    raise Unsupported("no integers")


def raise_os_error() -> None:
    raise FileNotFoundError(2, "No such file or directory", "gone")


def test_calls_share_one_process_that_is_another_one(child: ChildProcess) -> None:
    numbers = [child.call(os.getpid) for _ in range(2)]
    assert numbers[0] == numbers[1] != os.getpid()


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (raise_config_error, ConfigError, "unknown runtime 'onx'. Did you mean 'onnx'"),
        (raise_unsupported, Unsupported, "no integers"),
        (raise_os_error, FileNotFoundError, "No such file or directory: 'gone'"),
    ],
)
def test_an_expected_error_is_raised_here(
    child: ChildProcess, function: Callable[[], None], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        child.call(function)
    assert child.call(abs, -3) == 3


@pytest.mark.parametrize(
    ("number", "message", "is_lasting"),
    [
        (signal.SIGSEGV, "ended with SIGSEGV", True),
        (signal.SIGKILL, "ended with SIGKILL, as the system does when memory runs out", False),
        (signal.SIGTERM, "ended with SIGTERM", False),
    ],
)
def test_a_process_that_a_signal_ends_is_a_failure_and_the_next_call_starts_another(
    child: ChildProcess, number: signal.Signals, message: str, is_lasting: bool
) -> None:
    with pytest.raises(ChildFailure, match=f"^{message}$") as failure:
        child.call(signal.raise_signal, number)
    assert failure.value.is_lasting is is_lasting
    assert child.call(abs, -3) == 3


def test_a_process_that_exits_is_a_failure_with_the_code(child: ChildProcess) -> None:
    with pytest.raises(ChildFailure, match="ended with code 7"):
        child.call(os._exit, 7)


def test_a_call_that_does_not_end_is_ended_at_the_limit(child: ChildProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "TIME_LIMIT_S", 0.5)
    monkeypatch.setattr(child_process, "CHECK_INTERVAL_S", 0.05)
    number = child.call(os.getpid)
    with pytest.raises(ChildFailure, match="did not end within 0 minutes") as failure:
        child.call(time.sleep, 600)
    assert failure.value.is_lasting
    assert not exists(number)


def test_the_limit_starts_again_with_each_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "TIME_LIMIT_S", 0.5)
    monkeypatch.setattr(child_process, "CHECK_INTERVAL_S", 0.05)
    with ChildProcess(observe=time.monotonic) as child:
        child.call(time.sleep, 1.5)


def test_an_interruption_ends_the_process_and_removes_its_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "CHECK_INTERVAL_S", 0.05)
    interruptions = iter([None, None, KeyboardInterrupt()])

    def observe() -> None:
        if (interruption := next(interruptions)) is not None:
            raise interruption

    with ChildProcess(observe=observe) as child:
        number = child.call(os.getpid)
        temporary = Path(child.call(os.getenv, "TMPDIR") or "")
        with pytest.raises(KeyboardInterrupt):
            child.call(time.sleep, 600)
        assert not exists(number)
    assert not temporary.exists()


def test_a_script_that_does_not_protect_its_main_part_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "print('started', flush=True)\n"
        "from edgeproof.artifacts.child_process import ChildProcess\n"
        "with ChildProcess() as child:\n"
        "    print(child.call(abs, -3))\n"
        "    child.call(print, 'noise')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, "started\n3\n"), done.stderr


def test_another_exception_is_a_failure(child: ChildProcess) -> None:
    with pytest.raises(EdgeproofError, match="ended with code 1"):
        child.call(divmod, 1, 0)
