"""Keyed hashes: what stands in the prediction log for a private value.

Equal values of one column have equal hashes, so records can still be joined, counted and deleted. Without the key a
value cannot be found by trying candidates, which is what a plain hash of a name or a birth date would allow.
"""

from __future__ import annotations

import hashlib
import hmac

ENTITY = "@entity"
"""Stands for the column of an entity's key; no column of a contract can have this name."""

_DIGEST_BYTES = 16


def log_key(signing_key: bytes) -> bytes:
    """Return the key of the log's hashes, derived from the platform's signing key.

    Derived, so that there is no second secret to keep; and one-way, so that who knows it cannot sign bundles.
    """
    return hmac.new(signing_key, b"aforo prediction log", hashlib.sha256).digest()


def hashed(value: str | float, column: str, key: bytes) -> str:
    """Return what stands for ``value`` in the log: 32 hexadecimal digits.

    Parameters
    ----------
    value
        A number is hashed as the float64 that the graph is given: 10, 10.0 and ``True`` as JSON's ``1`` are not told
        apart by protocols, and are not here.
    column
        Part of what is hashed: the same value in another column has another hash.
    key
        From :func:`log_key`.
    """
    text = value if isinstance(value, str) else repr(float(value))
    message = f"{column}\0{text}".encode()
    return hashlib.blake2b(message, key=key, digest_size=_DIGEST_BYTES).hexdigest()
