"""How every command starts and ends: errors as one message, Ctrl-C without a traceback, no telemetry, no orphan."""

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

USAGE_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143
NOBODY_READS = 141
# Importing torch and the converters makes millions of objects that live to the end: looking for garbage among them
# every 700 allocations takes up to a quarter of a stage's time, and finds none.
RARELY = (100_000, 50, 100)

QUIET = {
    "OPENVINO_TELEMETRY_DISABLE": "1",
    "NNCF_TELEMETRY_DISABLE": "1",
    "NNCFDEBUG": "",
    "DVC_NO_ANALYTICS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
}


def environment() -> dict[str, str]:
    """What a process that runs stages is started with: this interpreter's programs first, and no telemetry."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **QUIET, "PATH": path}


class Terminated(BaseException):
    """SIGTERM came."""


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run `main` and exit with its code; an EdgeproofError becomes one message on stderr and exit code 2."""
    os.environ.update({key: value for key, value in QUIET.items() if key not in os.environ})
    # A stage whose DVC was killed must not write into outputs later, nor leave a runner behind.
    signal.signal(signal.SIGTERM, _terminated)
    processes.die_with_parent(signal.SIGTERM)
    gc.set_threshold(*RARELY)
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
        print("interrupted: what was finished is kept; the same command continues.", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough: 'edgeproof explain CELL | head'
        code = NOBODY_READS
    except OSError as error:
        print(f"error: {error}. What was finished is kept; the same command continues.", file=sys.stderr)
        code = USAGE_ERROR
    _leave(code)


def _terminated(_signal: int, _frame: object) -> NoReturn:
    """Unwind, so that whoever started a process ends it."""
    raise Terminated


def _leave(code: int) -> NoReturn:
    """End without tearing down torch and the converters, which takes a second or more and proves nothing."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or NOBODY_READS
    os._exit(code)
