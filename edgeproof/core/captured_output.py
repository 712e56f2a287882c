"""Redirect what Python and native code print, and return it as text."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STREAMS = (1, 2)  # the descriptors of stdout and stderr


@contextmanager
def capture_output() -> Iterator[Callable[[], str]]:
    """Redirect stdout and stderr to a file, also of native code, which prints below Python's streams.

    Yields a function that returns all that was printed until its call.
    """
    _flush()
    originals = [os.dup(descriptor) for descriptor in STREAMS]
    with tempfile.TemporaryFile() as file:

        def read() -> str:
            _flush()
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            for descriptor in STREAMS:
                os.dup2(file.fileno(), descriptor)
            yield read
        finally:
            _flush()
            for descriptor, original in zip(STREAMS, originals, strict=True):
                os.dup2(original, descriptor)
                os.close(original)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
