"""Start and end every command: errors become one message, telemetry is off, child processes are ended.

Programs import this module first and everything else in `main`. Then an interruption during the imports, which take
seconds, is one message too.
"""

from __future__ import annotations

import codecs
import gc
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from edgeproof.core import orphans, processes
from edgeproof.core.errors import EdgeproofError

# Exit codes. Those above 128 are the shell's convention for signals.
USAGE_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143
BROKEN_PIPE = 141
REPEAT_DELAY_S = 0.05
# torch and the converters create millions of objects that live until the end. With Python's default threshold of 700
# allocations the garbage collector takes up to a quarter of a stage's time.
GC_THRESHOLDS = (100_000, 50, 100)

# The name of the handler of letters that a terminal's encoding lacks, and how it writes them.
SIMILAR_LETTERS = "edgeproof-similar-letters"
ASCII_LETTERS = {
    **{"–": "-", "−": "-", "—": "-", "─": "-", "│": "|", "├": "|", "└": "`", "·": "*", "◆": "*", "×": "x", "…": "..."},
    **{"→": "->", "←": "<-", "±": "+-", "≤": "<=", "≥": ">=", "≠": "!=", "²": "^2", "³": "^3", "°": "deg "},
    **{"µ": "u", "μ": "u", "Δ": "delta", "“": '"', "”": '"', "‘": "'", "’": "'"},
}  # fmt: skip

QUIET_ENVIRONMENT = {
    "OPENVINO_TELEMETRY_DISABLE": "1",
    "NNCF_TELEMETRY_DISABLE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "NNCFDEBUG": "",
    "DVC_NO_ANALYTICS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
}


def build_environment() -> dict[str, str]:
    """Return the environment of a process that runs stages and ends with this one.

    This interpreter's programs come first, telemetry is off, and Python writes UTF-8.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "PYTHONIOENCODING": "utf-8:replace", orphans.STARTER_VARIABLE: str(os.getpid())}
    return {**os.environ, **QUIET_ENVIRONMENT, **own}


def accept_all_letters() -> None:
    """Let stdout and stderr write letters that their encoding lacks as similar ASCII letters, instead of failing."""
    codecs.register_error(SIMILAR_LETTERS, _replace_letters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # it is None without a terminal, and tests replace it
            stream.reconfigure(errors=SIMILAR_LETTERS)


def _replace_letters(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    return "".join(ASCII_LETTERS.get(letter, "?") for letter in letters), error.end


class Terminated(BaseException):
    """SIGTERM was received."""


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run `main` and exit with its code. An EdgeproofError becomes one message on stderr and exit code 2."""
    interruption = Interruption()
    try:
        interruption.watch()
        accept_all_letters()
        os.environ.update({key: value for key, value in QUIET_ENVIRONMENT.items() if key not in os.environ})
        # If DVC is killed, its stage must neither write outputs later nor leave a runner behind.
        signal.signal(signal.SIGTERM, _raise_terminated)
        processes.die_with_parent(signal.SIGTERM)
        orphans.end_with_starter()
        gc.set_threshold(*GC_THRESHOLDS)
        code = main() or 0
    except KeyboardInterrupt:
        code = _report_interruption()
    except Exception as error:
        # Some libraries turn the KeyboardInterrupt into an error of their own, such as an ImportError.
        code = _report_interruption() if interruption.happened else _report(error)
    except Terminated:
        code = TERMINATED
    _exit(code)


class Interruption:
    """SIGINT (Ctrl-C): raises KeyboardInterrupt in the main thread, and remembers that it did."""

    def __init__(self) -> None:
        self.happened = False

    def watch(self) -> None:
        """Handle SIGINT, unless the caller has it ignored, as shells do for commands in the background."""
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._raise)
            sys.unraisablehook = self._repeat

    def _raise(self, _signal: int, _frame: object) -> NoReturn:
        self.happened = True
        raise KeyboardInterrupt

    def _repeat(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Interrupt again after Python has dropped the exception, because it was raised in a destructor."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(REPEAT_DELAY_S, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            sys.__unraisablehook__(unraisable)


def _report_interruption() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the end
    print("interrupted. Finished work is kept: run the same command again to continue.", file=sys.stderr)
    return INTERRUPTED


def _report(error: Exception) -> int:
    """Print the message of an expected error and return the exit code. Raises any other error again."""
    if isinstance(error, EdgeproofError):
        _print_error(str(error))
        return USAGE_ERROR
    if isinstance(error, ModuleNotFoundError):
        _print_error(f"the Python module '{error.name}' is not installed. Run 'make setup'.")
        return USAGE_ERROR
    if isinstance(error, BrokenPipeError):  # the reader of stdout has closed it, as in 'edgeproof explain CELL | head'
        return BROKEN_PIPE
    if isinstance(error, OSError):
        _print_error(f"{error}. Finished work is kept: run the same command again to continue.")
        return USAGE_ERROR
    raise error


def _print_error(message: str) -> None:
    """Print a message, which may contain names from outside and answers of devices."""
    from edgeproof.core.plain_text import escape_controls  # here, so that commands start faster

    print(f"error: {escape_controls(message)}", file=sys.stderr)


def _raise_terminated(_signal: int, _frame: object) -> NoReturn:
    """Unwind the stack, so that every context manager ends the processes that it started."""
    raise Terminated


def _exit(code: int) -> NoReturn:
    """Exit without destroying the objects of torch and the converters, which takes a second or more."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or BROKEN_PIPE
    os._exit(code)
