"""Verification of Ed25519 signatures (RFC 8032, section 5.1.7) for boards that have no cryptography library.

Verification uses public data only, so this code need not run in constant time. The host signs with a library.
"""

from __future__ import annotations

import hashlib

P = 2**255 - 19  # the prime of the field
L = 2**252 + 27742317777372353535851937790883648493  # the order of the group
D = -121665 * pow(121666, P - 2, P) % P  # the constant of the curve: -x² + y² = 1 + D·x²·y²
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
KEY_BYTES, SIGNATURE_BYTES = 32, 64

Point = tuple[int, int, int, int]  # extended homogeneous coordinates X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z
NEUTRAL: Point = (0, 1, 1, 0)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Return True if `signature` is the key's signature of this message."""
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    key, r = _decode_point(public_key), _decode_point(signature[:KEY_BYTES])
    s = int.from_bytes(signature[KEY_BYTES:], "little")
    if key is None or r is None or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:KEY_BYTES] + public_key + message).digest(), "little") % L
    return _is_equal(_multiply(s, BASE), _add(r, _multiply(h, key)))


def _decode_point(encoded: bytes) -> Point | None:
    """Decode a point (section 5.1.3). Returns None if the bytes encode no point of the curve."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def _add(a: Point, b: Point) -> Point:
    """Add two points (section 5.1.4)."""
    m, n = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    t, z = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = n - m, z - t, z + t, n + m
    return e * f % P, g * h % P, f * g % P, e * h % P


def _multiply(factor: int, point: Point) -> Point:
    """Multiply a point by an integer, by doubling and adding."""
    total = NEUTRAL
    while factor:
        if factor & 1:
            total = _add(total, point)
        point = _add(point, point)
        factor >>= 1
    return total


def _is_equal(a: Point, b: Point) -> bool:
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


_base = _decode_point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
assert _base is not None
BASE = _base
