"""LoadGen's logs and other small files, read without trust: whatever is wrong with one becomes a sentence."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof.submission.rules import FILE_BYTES

MARK = ":::MLLOG "
# What a whole number of LoadGen's fits into.
LARGEST = 2**64
SHOWN_CHARS = 80
SHOWN_LINES = 3
# Keys of these beginnings are said once in a run; LoadGen repeats others for every batch of samples.
ONCE = ("effective_", "requested_", "result_", "early_stopping_", "qsl_", "sut_", "loadgen_", "num_errors")

Scalar = str | int | float | bool | None


class Unreadable(Exception):
    """A file that cannot be taken for what it should be; the message says why."""


@dataclass(frozen=True)
class Detail:
    """A detail log: each key's scalar value (its first) and time (its last), and what is wrong with it as a log."""

    values: Mapping[str, Scalar]
    times_ms: Mapping[str, float]
    problems: tuple[str, ...]

    def number(self, key: str) -> int | float | None:
        """The key's value if it is a number that LoadGen could have written."""
        return number(self.values.get(key))


def detail(text: str) -> Detail:
    """Parse mlperf_log_detail.txt: one ':::MLLOG {json}' a line."""
    values: dict[str, Scalar] = {}
    times_ms: dict[str, float] = {}
    foreign, errors, repeated = [], [], []
    for line_number, line in enumerate(text.split("\n")[:-1], 1):
        entry = _entry(line)
        if entry is None:
            foreign.append(f"line {line_number} is {shown(line)}; expected '{MARK}{{json}}'")
            continue
        key, value, error = entry["key"], entry["value"], entry["metadata"]["is_error"]
        if error is not False:
            errors.append(f"LoadGen reports an error: {shown(key)}: {shown(value)}; expected none")
        if key in values and key.startswith(ONCE) and values[key] != value:
            repeated.append(f"line {line_number} says {shown(key)} again and otherwise; expected it once")
        if not isinstance(value, list | dict):
            values.setdefault(key, value)
        times_ms[key] = float(entry["time_ms"])
    problems = [] if text.endswith("\n") else ["ends within a line; expected a whole log"]
    for kind in (foreign, errors, repeated):
        problems += kind[:SHOWN_LINES]
        if len(kind) > SHOWN_LINES:
            problems.append(f"has {len(kind) - SHOWN_LINES} more lines like this")
    return Detail(values, times_ms, tuple(problems))


def summary(text: str) -> dict[str, str]:
    """Parse mlperf_log_summary.txt: the 'name : value' lines, the first of each name."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = line.strip(" *").partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def settings(text: str) -> Iterator[tuple[int, str, str, str, float | None]]:
    """Parse user.conf: line number, model, scenario, key and value (None where the line is not 'a.b.c = number')."""
    for line_number, line in enumerate(text.split("\n"), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        parts = words[0].split(".")
        value = _parsed(words[2]) if len(words) == 3 and words[1] == "=" else None
        if len(parts) != 3:
            yield line_number, "", "", words[0], None
        else:
            yield line_number, parts[0], parts[1], parts[2], value


def responses(text: str) -> list[tuple[int, str]]:
    """Parse a whole mlperf_log_accuracy.json: sample and response in hex. Raises Unreadable."""
    entries = parsed_json(text)
    if not isinstance(entries, list):
        raise Unreadable("is not a list of responses")
    found = []
    for entry in entries:
        sample, data = (entry.get("qsl_idx"), entry.get("data")) if isinstance(entry, dict) else (None, None)
        if not isinstance(sample, int) or isinstance(sample, bool) or not isinstance(data, str):
            raise Unreadable(f"holds {shown(entry)}; expected an object with qsl_idx and data")
        found.append((sample, data))
    return found


def text_of(path: Path) -> str:
    """A regular file's text. Raises Unreadable; follows no link, waits for no pipe, takes no more than a file may."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("is no regular file")
        if status.st_size > FILE_BYTES:
            raise Unreadable(f"has {status.st_size} bytes; expected at most {FILE_BYTES}")
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not UTF-8 text at byte {error.start}") from None
    except FileNotFoundError:
        raise Unreadable("is missing") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or type(error).__name__}") from None


def json_of(path: Path) -> dict[str, Any]:
    """A file's JSON object. Raises Unreadable."""
    content = parsed_json(text_of(path))
    if not isinstance(content, dict):
        raise Unreadable(f"is {shown(content)}; expected a JSON object")
    return content


def parsed_json(text: str) -> Any:
    """Any JSON. Raises Unreadable."""
    try:
        return json.loads(text)
    except RecursionError:
        raise Unreadable("is JSON nested too deeply") from None
    except ValueError as error:
        raise Unreadable(f"is not JSON: {shown(str(error))}") from None


def number(value: object) -> int | float | None:
    """The value if it is a finite number within LoadGen's range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if abs(value) <= LARGEST else None


def shown(value: object) -> str:
    """A value for a message: on one line, short, without control characters."""
    if isinstance(value, list | dict):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        return "a number of more than 64 bits"
    text = ascii(value[: SHOWN_CHARS + 1]) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _entry(line: str) -> dict[str, Any] | None:
    """One line's object if it has all that is read of it."""
    if not line.startswith(MARK):
        return None
    try:
        entry = parsed_json(line.removeprefix(MARK))
    except Unreadable:
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("key"), str) or "value" not in entry:
        return None
    if number(entry.get("time_ms")) is None:
        return None
    metadata = entry.get("metadata")
    return entry if isinstance(metadata, dict) and "is_error" in metadata else None


def _parsed(word: str) -> float | None:
    """A number in user.conf, as C's strtod reads the plain ones."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in word else None
