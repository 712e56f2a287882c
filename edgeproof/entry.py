"""Start and end every command: errors become one message, telemetry is off, child processes are ended."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from edgeproof.core import processes
from edgeproof.core.errors import EdgeproofError

# Exit codes. Those above 128 are the shell's convention for signals.
USAGE_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143
BROKEN_PIPE = 141
# torch and the converters create millions of objects that live until the end. With Python's default threshold of 700
# allocations the garbage collector takes up to a quarter of a stage's time.
GC_THRESHOLDS = (100_000, 50, 100)

QUIET_ENVIRONMENT = {
    "OPENVINO_TELEMETRY_DISABLE": "1",
    "NNCF_TELEMETRY_DISABLE": "1",
    "NNCFDEBUG": "",
    "DVC_NO_ANALYTICS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
}


def build_environment() -> dict[str, str]:
    """Return the environment of a process that runs stages: this interpreter's programs first, telemetry off."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **QUIET_ENVIRONMENT, "PATH": path}


class Terminated(BaseException):
    """SIGTERM was received."""


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run `main` and exit with its code. An EdgeproofError becomes one message on stderr and exit code 2."""
    os.environ.update({key: value for key, value in QUIET_ENVIRONMENT.items() if key not in os.environ})
    # If DVC is killed, its stage must neither write outputs later nor leave a runner behind.
    signal.signal(signal.SIGTERM, _raise_terminated)
    processes.die_with_parent(signal.SIGTERM)
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        code = main() or 0
    except EdgeproofError as error:
        print(f"error: {error}", file=sys.stderr)
        code = USAGE_ERROR
    except ModuleNotFoundError as error:
        print(f"error: the Python module '{error.name}' is not installed. Run 'make setup'.", file=sys.stderr)
        code = USAGE_ERROR
    except Terminated:
        code = TERMINATED
    except KeyboardInterrupt:
        print("interrupted. Finished work is kept: run the same command again to continue.", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of stdout has closed it, as in 'edgeproof explain CELL | head'
        code = BROKEN_PIPE
    except OSError as error:
        print(f"error: {error}. Finished work is kept: run the same command again to continue.", file=sys.stderr)
        code = USAGE_ERROR
    _exit(code)


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
