"""FarmHash64 of texts, as BigQuery's FARM_FINGERPRINT computes it.

`polars_hash` (0.9) computes it fast, and differs from Google's code for texts of 128, 192, 256, ... bytes, as can be
seen beside pyfarmhash, which wraps that code. Those texts are hashed here, in Python.

References
----------
Pike: FarmHash, 2014, farmhashna::Hash64.
"""

from __future__ import annotations

import polars as pl
import polars_hash  # noqa: F401  registers `nchash`

_MASK = 2**64 - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def farmhash64(text: pl.Expr) -> pl.Expr:
    """Return the hash of each text's UTF-8 bytes: uint64, null for null."""
    size = text.str.len_bytes()
    whole_blocks = (size % 64 == 0) & (size > 64)
    # Pure Python inside: a call of Polars from within its own threads could wait for itself.
    repaired = pl.when(whole_blocks).then(text).map_elements(_hash_of_text, return_dtype=pl.UInt64, skip_nulls=True)
    hashed = text.nchash.farmhash64().cast(pl.UInt64)  # type: ignore[attr-defined]
    return pl.when(whole_blocks).then(repaired).otherwise(hashed)


def _hash_of_text(text: str) -> int:
    return hash_of_blocks(text.encode())


def hash_of_blocks(data: bytes) -> int:
    """Return FarmHash64 of more than 64 bytes."""
    x = (81 * _K2 + _fetch(data, 0)) & _MASK
    y = (81 * _K1 + 113) & _MASK
    z = _mix(y * _K2 + 113) * _K2 & _MASK
    v, w = (0, 0), (0, 0)
    last = len(data) - 64
    starts = [*range(0, 64 * ((len(data) - 1) // 64), 64), last]
    factor, weight = _K1, 1
    for number, start in enumerate(starts):
        if number == len(starts) - 1:
            factor, weight = _K1 + ((z & 0xFF) << 1), 9
            w = (w[0] + ((len(data) - 1) & 63), w[1])
            v = (v[0] + w[0], v[1])
            w = (w[0] + v[0], w[1])
        x = _rotate(x + y + v[0] + _fetch(data, start + 8), 37) * factor
        y = _rotate(y + v[1] + _fetch(data, start + 48), 42) * factor
        x = (x ^ (w[1] * weight)) & _MASK
        y = (y + v[0] * weight + _fetch(data, start + 40)) & _MASK
        z = _rotate(z + w[0], 33) * factor & _MASK
        v = _weak(data, start, v[1] * factor, x + w[0])
        w = _weak(data, start + 32, z + w[1], y + _fetch(data, start + 16))
        x, z = z, x
    upper = _short(v[0], w[0], factor) + _mix(y) * _K0 + z
    return _short(upper, _short(v[1], w[1], factor) + x, factor)


def _fetch(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 8], "little")


def _rotate(value: int, bits: int) -> int:
    value &= _MASK
    return (value >> bits | value << (64 - bits)) & _MASK


def _mix(value: int) -> int:
    value &= _MASK
    return value ^ value >> 47


def _short(u: int, v: int, factor: int) -> int:
    a = _mix(((u ^ v) & _MASK) * factor)
    return _mix(((v ^ a) & _MASK) * factor) * factor & _MASK


def _weak(data: bytes, start: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = (_fetch(data, start + 8 * word) for word in range(4))
    a += w
    b = _rotate(b + a + z, 21)
    return (a + x + y + z) & _MASK, (b + _rotate(a + x + y, 44) + a) & _MASK
