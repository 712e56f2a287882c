"""Read LoadGen's logs and other small files from untrusted sources: every problem becomes one sentence."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof.submission.rules import MAX_FILE_BYTES

LINE_PREFIX = ":::MLLOG "
# LoadGen's integers have 64 bits.
MAX_NUMBER = 2**64
MAX_SHOWN_CHARS = 80
MAX_SHOWN_LINES = 3
# LoadGen writes keys with these prefixes once in a run. It repeats other keys for every batch of samples.
UNIQUE_PREFIXES = ("effective_", "requested_", "result_", "early_stopping_", "qsl_", "sut_", "loadgen_", "num_errors")

Scalar = str | int | float | bool | None


class UnreadableFile(Exception):
    """A file does not have the expected format. The message says why, without the file's name."""


@dataclass(frozen=True)
class DetailLog:
    """Content of a detail log.

    `values` holds the first scalar value of each key, `times_ms` the last time of each key, and `problems` what is
    wrong with the log's format.
    """

    values: Mapping[str, Scalar]
    times_ms: Mapping[str, float]
    problems: tuple[str, ...]

    def get_number(self, key: str) -> int | float | None:
        """Return the key's value, or None if it is not a number that LoadGen can write."""
        return as_number(self.values.get(key))


@dataclass(frozen=True)
class Setting:
    """One line of user.conf, 'model.scenario.key = value'; `value` is None if the line has another form."""

    line: int
    model: str
    scenario: str
    key: str
    value: float | None


def parse_detail(text: str) -> DetailLog:
    """Parse mlperf_log_detail.txt, whose lines have the form ':::MLLOG {json}'."""
    values: dict[str, Scalar] = {}
    times_ms: dict[str, float] = {}
    malformed, errors, repeated = [], [], []
    for line_number, line in enumerate(text.split("\n")[:-1], 1):
        entry = _parse_line(line)
        if entry is None:
            malformed.append(f"line {line_number} is {quote(line)}; expected '{LINE_PREFIX}{{json}}'")
            continue
        key, value, error = entry["key"], entry["value"], entry["metadata"]["is_error"]
        if error is not False:
            errors.append(f"LoadGen reports an error: {quote(key)}: {quote(value)}; expected none")
        if key in values and key.startswith(UNIQUE_PREFIXES) and values[key] != value:
            repeated.append(f"line {line_number} repeats {quote(key)} with another value; expected it once")
        if not isinstance(value, list | dict):
            values.setdefault(key, value)
        times_ms[key] = float(entry["time_ms"])
    problems = [] if text.endswith("\n") else ["ends in the middle of a line; expected a complete log"]
    for kind in (malformed, errors, repeated):
        problems += kind[:MAX_SHOWN_LINES]
        if len(kind) > MAX_SHOWN_LINES:
            problems.append(f"has {len(kind) - MAX_SHOWN_LINES} more lines like this")
    return DetailLog(values, times_ms, tuple(problems))


def parse_summary(text: str) -> dict[str, str]:
    """Parse mlperf_log_summary.txt: return the first value of each name in its lines 'name : value'."""
    values: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = line.strip(" *").partition(":")
        if colon:
            values.setdefault(name.strip(), value.strip())
    return values


def parse_user_conf(text: str) -> Iterator[Setting]:
    """Yield the settings in user.conf, one for each line that is neither empty nor a comment."""
    for line_number, line in enumerate(text.split("\n"), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        parts = words[0].split(".")
        value = _parse_number(words[2]) if len(words) == 3 and words[1] == "=" else None
        if len(parts) != 3:
            yield Setting(line_number, "", "", words[0], None)
        else:
            yield Setting(line_number, parts[0], parts[1], parts[2], value)


def parse_responses(text: str) -> list[tuple[int, str]]:
    """Parse a complete mlperf_log_accuracy.json into pairs of a sample's index and its response in hexadecimal.

    Raises UnreadableFile.
    """
    entries = parse_json(text)
    if not isinstance(entries, list):
        raise UnreadableFile("is not a list of responses")
    responses = []
    for entry in entries:
        sample, data = (entry.get("qsl_idx"), entry.get("data")) if isinstance(entry, dict) else (None, None)
        if not isinstance(sample, int) or isinstance(sample, bool) or not isinstance(data, str):
            raise UnreadableFile(f"contains {quote(entry)}; expected an object with qsl_idx and data")
        responses.append((sample, data))
    return responses


def read_text(path: Path) -> str:
    """Return the text of a regular file of at most MAX_FILE_BYTES, without following links.

    Raises UnreadableFile.
    """
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFile("is not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise UnreadableFile(f"has {status.st_size} bytes; expected at most {MAX_FILE_BYTES}")
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"is not UTF-8 text at byte {error.start}") from None
    except FileNotFoundError:
        raise UnreadableFile("is missing") from None
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror or type(error).__name__}") from None


def parse_json(text: str) -> Any:
    """Parse any JSON. Raises UnreadableFile."""
    try:
        return json.loads(text)
    except RecursionError:
        raise UnreadableFile("is JSON nested too deeply") from None
    except ValueError as error:
        raise UnreadableFile(f"is not JSON: {quote(str(error))}") from None


def as_number(value: object) -> int | float | None:
    """Return the value if it is a finite number within LoadGen's range, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if abs(value) <= MAX_NUMBER else None


def quote(value: object) -> str:
    """Format a value for a message: short, on one line, without control characters."""
    if isinstance(value, list | dict):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_NUMBER:
        return "a number of more than 64 bits"
    text = ascii(value[: MAX_SHOWN_CHARS + 1]) if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"


def _parse_line(line: str) -> dict[str, Any] | None:
    """Return a line's JSON object, or None if it lacks key, value, time_ms or metadata.is_error."""
    if not line.startswith(LINE_PREFIX):
        return None
    try:
        entry = parse_json(line.removeprefix(LINE_PREFIX))
    except UnreadableFile:
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("key"), str) or "value" not in entry:
        return None
    if as_number(entry.get("time_ms")) is None:
        return None
    metadata = entry.get("metadata")
    return entry if isinstance(metadata, dict) and "is_error" in metadata else None


def _parse_number(word: str) -> float | None:
    """Parse a number of user.conf. Unlike float(), C's strtod accepts no underscores."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in word else None
