"""Guard the libraries that read a user's file: each of their failures becomes one short message."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgeproof.core.captured_output import capture_output
from edgeproof.core.errors import ConfigError, EdgeproofError

MAX_REASON_CHARACTERS = 400
HEAD_CHARACTERS = 100  # of a reason that is longer
# An archive may unpack to MAX_UNPACKED_BYTES, or to MAX_UNPACKED_RATIO times its own size if that is more.
MAX_UNPACKED_BYTES = 1 << 30
MAX_UNPACKED_RATIO = 4
# A source location of the engine, which precedes a message: "Exception from src/core.cpp:84: ".
SOURCE_LINE = r"(?:Exception from |Check '[^']*' failed at |File \")?[^\s'\"]*\.(?:cc|cpp|h|hpp|cu|py):\d+:?"
# The C++ function at that location: "onnxruntime::Model::Model(const onnxruntime::PathString&, int) const ".
SIGNATURE = r"(?: [\w:<>,&*~ ]*\w::[\w~<>=!]+\((?:[^()]|\([^()]*\))*\)(?: const)?)?"
ENGINE_PREFIX = r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : |Load model from .*? failed: ?"

Result = TypeVar("Result")


def run_guarded(failure: str, action: Callable[[], Result]) -> Result:
    """Run code on a file that may be damaged, and capture its output.

    Raises ConfigError for an exception of any type. Its message is `failure` and the shortened text of the exception.
    """
    with capture_output():
        try:
            return action()
        except EdgeproofError:
            raise
        except Exception as error:
            raise ConfigError(f"{failure}: {describe_error(error)}") from None


def describe_error(error: BaseException) -> str:
    """Return the type and the text of an exception in one line, without source locations and C++ signatures.

    The middle of a long text is left out: libraries name the part first, and engines put the cause at the end.
    """
    text = " ".join(str(error).split())
    for noise in (ENGINE_PREFIX, SOURCE_LINE + SIGNATURE):
        text = re.sub(noise, " ", text)
    text = " ".join(text.split())
    if len(text) > MAX_REASON_CHARACTERS:
        head, tail = text[:HEAD_CHARACTERS], text[HEAD_CHARACTERS - MAX_REASON_CHARACTERS :]
        text = f"{head.rpartition(' ')[0]} … {tail.partition(' ')[2]}"
    return f"{type(error).__name__}: {text}"


def check_unpacked_size(path: Path) -> None:
    """Raise ConfigError for a zip archive that unpacks to far more than its size. Other files pass."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except Exception:  # not an archive, or a damaged one: its reader reports a better message
        return
    limit = max(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * path.stat().st_size)
    if unpacked > limit:
        raise ConfigError(
            f"{path} unpacks to {unpacked:,} bytes, and at most {limit:,} are allowed. Write it without "
            "compression, or write less data."
        )
