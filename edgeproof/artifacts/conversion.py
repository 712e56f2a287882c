"""What every lowering shares: converters whose chatter is kept apart, and the facts of the files they leave."""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeproof.core.artifacts import ExportResult
from edgeproof.core.directories import list_files
from edgeproof.core.errors import EdgeproofError, Unsupported

MAX_LOG_LINES = 15


def run_converter(what: str, convert: Callable[[], ExportResult]) -> ExportResult | Unsupported:
    """Run a converter; a refusal with a reason is an outcome.

    Raises EdgeproofError naming `what`, with the end of all that was printed, when the converter fails otherwise.
    """
    with capture_output() as log:
        try:
            return convert()
        except Unsupported as reason:
            return reason
        except (EdgeproofError, OSError):
            raise
        except Exception as error:
            traceback.print_exc()
            raise EdgeproofError(f"{what} failed: {type(error).__name__}: {error}\n{log()}") from error


def describe_files(directory: Path, outcome: ExportResult | Unsupported) -> dict[str, Any]:
    """The facts of a lowered artifact for its meta: call it before anything else is written there.

    What a refused converter left behind is removed.
    """
    lowered = list_files(directory)
    if isinstance(outcome, Unsupported):
        for name in lowered:
            (directory / name).unlink()
        return {"unsupported": str(outcome)}
    return {
        "lowered": lowered,
        "size_bytes": sum((directory / name).stat().st_size for name in lowered),
        "gzip_bytes": sum(len(gzip.compress((directory / name).read_bytes(), 9, mtime=0)) for name in lowered),
        "notes": list(outcome.notes),
    }


@contextmanager
def capture_output() -> Iterator[Callable[[], str]]:
    """Send what the converters print (Python and C++ alike) to a file; yields a function that returns its tail."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)

        def tail() -> str:
            sys.stdout.flush()
            sys.stderr.flush()
            file.seek(0)
            return "\n".join(file.read().decode(errors="replace").splitlines()[-MAX_LOG_LINES:])

        try:
            yield tail
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            for descriptor in kept:
                os.close(descriptor)
