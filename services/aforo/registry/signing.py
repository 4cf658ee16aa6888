"""The key that signs bundles, and HMAC-SHA-256 over bytes."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from aforo.errors import SettingsError

_SHORTEST_KEY_BYTES = 32


def signing_key(path: Path, *, create: bool = False) -> bytes:
    """Return the signing key in ``path``.

    Parameters
    ----------
    create
        Make the file, readable by its owner alone, if there is none. For the embedded default; the
        platform is given its key as a secret.

    Raises
    ------
    SettingsError
        There is no such file, it cannot be read, or its key is shorter than 32 bytes.
    """
    if create and not path.exists():
        _make(path)
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(
            f"the signing key {path} cannot be read: {error.strerror}",
            hint="set AFORO_SIGNING_KEY_FILE to the file with the key that signed the bundles",
        ) from error
    if len(key) < _SHORTEST_KEY_BYTES:
        raise SettingsError(
            f"the signing key {path} has {len(key)} bytes; expected {_SHORTEST_KEY_BYTES} or more",
            hint="make one with `openssl rand -hex 32`",
        )
    return key


def sign(data: bytes, key: bytes) -> str:
    """Return the HMAC-SHA-256 of ``data`` in hex."""
    return hmac.new(key, data, hashlib.sha256).hexdigest()


def is_signed(data: bytes, signature: str, key: bytes) -> bool:
    """Whether ``signature`` is that of ``data``; takes as long for a wrong one as for a right one."""
    return hmac.compare_digest(sign(data, key).encode(), signature.encode())


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(_SHORTEST_KEY_BYTES).encode() + b"\n")
        # A link fails where a file is: of two processes that begin together, both go on with the same key.
        path.hardlink_to(partial)
    except FileExistsError:
        pass
    finally:
        partial.unlink()
