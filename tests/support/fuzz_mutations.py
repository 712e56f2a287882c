"""Make valid content malformed: bytes, YAML text, JSON values and arrays, all drawn from one random generator."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

HOSTILE_TEXT = (
    *("\x1b[2J\x1b[31mred", "\u202egnp.exe", "a\r\nb", "\x00", "\ud800", "=cmd|' /C calc'!A1", "{{ 7 * 7 }}"),
    *("../../../../etc/passwd", "/dev/full", "a/b", "'; DROP TABLE records; --", "%s%n", "$(id)", "`id`", "y" * 70_000),
)
HOSTILE_VALUES: tuple[Any, ...] = (
    *(None, True, [], {}, "", -1, 0, 10**30, 10**400, -0.0, float("nan"), float("inf"), 1e308, [[[[]]]], {"a": {}}),
    *HOSTILE_TEXT,
)
HOSTILE_YAML = (
    *("!!python/object/apply:os.system [id]", "&a [*a]", "*unknown", "{", "[" * 3000, "\t", "1e999", ".nan", "-.inf"),
    *("-1", "9" * 400, "9" * 5000, "~", "''", '"\\ud800"', "? [a]: b", "<<: *x", "2020-01-01", "0x7fffffffffffffff"),
    *("${oc.env:HOME}", "${model}", "???", "../../etc/passwd", "!!binary aGk=", "!!set {a, b}", "{a: 1, a: 2}", "yes"),
    *HOSTILE_TEXT,
)
MAX_PART_BYTES = 64


def mutate_bytes(rng: random.Random, content: bytes) -> bytes:
    """Return damaged bytes: cut, flipped, doubled, replaced or random ones."""
    start = rng.randrange(len(content) + 1)
    part = content[start : start + rng.randint(1, MAX_PART_BYTES)]
    noise = rng.randbytes(rng.randint(1, MAX_PART_BYTES))
    choices: tuple[Callable[[], bytes], ...] = (
        lambda: content[:start],
        lambda: content[start:],
        lambda: content[:start] + content[start + len(part) :],
        lambda: content[:start] + part + content[start:],
        lambda: content[:start] + noise + content[start:],
        lambda: content[:start] + noise + content[start + len(noise) :],
        lambda: content[:start] + b"\xff" * len(part) + content[start + len(part) :],
        lambda: content[:start] + bytes(len(part)) + content[start + len(part) :],
        lambda: _flip_bits(rng, content),
        lambda: _flip_bits(rng, content),
        lambda: b"",
        lambda: rng.randbytes(200),
    )
    return rng.choice(choices)()


def mutate_yaml(rng: random.Random, text: str) -> bytes:
    """Return damaged YAML: a hostile value, a lost, doubled or moved line, an unknown key, or damaged bytes."""
    lines = text.splitlines()
    keyed = [index for index, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")]
    index = rng.choice(keyed or [0])
    for _ in range(rng.choice((1, 1, 1, 3))):
        kind = rng.randrange(9)
        line = lines[index] if index < len(lines) else ""
        key, _, value = line.partition(":")
        if kind <= 3:
            lines[index : index + 1] = [f"{key}: {rng.choice(HOSTILE_YAML)}"]
        elif kind == 4:
            lines[index : index + 1] = [f"{key}x:{value}"]
        elif kind == 5:
            lines[index : index + 1] = rng.choice(([], [line, line]))
        elif kind == 6:
            lines[index : index + 1] = [" " * rng.randint(1, 5) + line.lstrip()]
        elif kind == 7:
            lines.insert(rng.randrange(len(lines) + 1), str(rng.choice(HOSTILE_YAML)))
        else:
            rng.shuffle(lines)
        index = rng.choice(keyed or [0])
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    return mutate_bytes(rng, content) if rng.random() < 0.25 else content


def mutate_json(rng: random.Random, text: str) -> bytes:
    """Return damaged JSON: a hostile value, a lost or doubled key anywhere in it, or damaged bytes."""
    if rng.random() < 0.25:
        return mutate_bytes(rng, text.encode())
    content = copy.deepcopy(json.loads(text))
    holder, key = _choose_place(rng, content)
    kind = rng.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice(HOSTILE_TEXT)] = holder[key]
    else:
        holder[key] = rng.choice(HOSTILE_VALUES)
    return json.dumps(content).encode()


def mutate_arrays(rng: random.Random, arrays: dict[str, np.ndarray]) -> bytes:
    """Return an .npz file with a hostile array, a lost or an unknown one, a false header, or damaged bytes."""
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    hostile: tuple[Callable[[], Any], ...] = (
        lambda: np.array([{"a": 1}, None], dtype=object),
        lambda: array.astype("U9"),
        lambda: np.full_like(array, np.nan) if array.dtype.kind == "f" else -array.astype(np.int64) - 1,
        lambda: array[:0],
        lambda: np.float32(1),
        lambda: array.reshape(-1),
        lambda: array[None],
        lambda: array.astype(np.complex128),
        lambda: array.astype([("a", "f4")]),
        lambda: np.array(["2020-01-01"], "datetime64[D]"),
        lambda: np.full(array.shape, 2**63 - 1, np.int64),
        lambda: array[: len(array) // 2],
    )
    kind = rng.randrange(6)
    changed = dict(arrays)
    if kind <= 2:
        changed[name] = rng.choice(hostile)()
    elif kind == 3:
        changed[rng.choice(("X", "../x", "x.npy", "\u202e"))] = changed.pop(name)
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=True, **changed)
    if kind == 4:
        return _claim_huge_array(name)
    return mutate_bytes(rng, stream.getvalue()) if kind == 5 else stream.getvalue()


def _flip_bits(rng: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 8) if damaged else 0):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _choose_place(rng: random.Random, content: Any) -> tuple[Any, Any]:
    """Return a container in a JSON value and one of its keys or indices."""
    places: list[tuple[Any, Any]] = []
    pending = [content]
    while pending:
        holder = pending.pop()
        keys = (
            list(holder) if isinstance(holder, dict) else list(range(len(holder))) if isinstance(holder, list) else []
        )
        places += [(holder, key) for key in keys]
        pending += [holder[key] for key in keys]
    return rng.choice(places)


def _claim_huge_array(name: str) -> bytes:
    """Return an .npz whose header claims terabytes that the file does not hold."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    return stream.getvalue()
