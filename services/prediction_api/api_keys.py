"""Who may call: API keys, of which only SHA-256 digests are stored.

The secrets file is JSON, and is read again when it changes::

    {"keys": [{"name": "web shop", "sha256": "9f86d0…", "scopes": ["predict"], "requests_per_s": 500}]}

A key is 32 random bytes (:func:`new_key`), so its plain SHA-256 cannot be guessed back. A client sends it as
``Authorization: Bearer <key>`` or ``X-API-Key: <key>``.
"""

from __future__ import annotations

import hashlib
import hmac
import mmap
import secrets
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError

from aforo.contracts.specification import Specification
from aforo.errors import SettingsError
from prediction_api.problems import Problem

Scope = Literal["predict", "events", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = ("predict", "events", "feedback", "admin")

_MOST_KEYS = 1_024
_SLOT = struct.Struct("d")


class ApiKey(Specification):
    """One key's entry.

    Attributes
    ----------
    name
        Who it was given to; appears in metrics and logs, the key never does.
    requests_per_s
        Sustained rate over all workers; a burst of one second's worth is let through. ``None`` for no limit.
    """

    name: str = Field(min_length=1, max_length=100)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = ("predict",)
    requests_per_s: float | None = Field(default=None, gt=0)


class ApiKeysFile(Specification):
    keys: tuple[ApiKey, ...] = Field(max_length=_MOST_KEYS)


@dataclass(frozen=True)
class NewKey:
    """A key to hand out, once, and the entry to store."""

    key: str
    entry: ApiKey


def new_key(name: str, scopes: tuple[Scope, ...] = ("predict",), requests_per_s: float | None = None) -> NewKey:
    """Return a fresh random key with its entry."""
    key = "aforo_" + secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    return NewKey(key, ApiKey(name=name, sha256=digest, scopes=scopes, requests_per_s=requests_per_s))


class _Entry(NamedTuple):
    digest: bytes
    key: ApiKey
    slot: int
    """Where in the meter its rate is."""


class KnownCaller:
    """Whose key a connection has presented last: to find that among a thousand keys takes longer than a prediction."""

    __slots__ = ("entries", "found", "presented")

    def __init__(self) -> None:
        self.presented = b""
        self.found: _Entry | None = None
        self.entries: tuple[_Entry, ...] = ()
        """Among which it was found; others are another file's."""


class ApiKeys:
    """Admits or refuses requests.

    Parameters
    ----------
    path
        The secrets file; ``None`` admits everybody, for the embedded default on this machine.
    meter
        Memory that the workers share, so that a rate counts over all of them; made by :func:`shared_meter`.
    now
        Seconds of a clock that all workers share.
    """

    def __init__(
        self, path: Path | None, meter: mmap.mmap | None = None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._path = path
        self._meter = meter if meter is not None else shared_meter()
        self._stamp: tuple[int, int] | None = None
        self._entries: tuple[_Entry, ...] = ()
        self.reload()

    def reload(self) -> bool:
        """Read the file if it is another than before; return whether it was.

        Raises
        ------
        SettingsError
            It cannot be read; the keys of before stay.
        """
        if self._path is None:
            return False
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return False
            document = ApiKeysFile.model_validate_json(self._path.read_bytes())
        except OSError as error:
            raise SettingsError(
                f"the API keys cannot be read from {self._path}: {error.strerror}", hint="check the file and its owner"
            ) from error
        except ValidationError as error:
            places = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
            raise SettingsError(f"{self._path} is not a file of API keys: {places}") from error
        self._stamp = stamp
        self._entries = tuple(
            _Entry(bytes.fromhex(key.sha256), key, place * _SLOT.size) for place, key in enumerate(document.keys)
        )
        return True

    def admit(self, presented: bytes, scope: Scope, known: KnownCaller | None = None) -> str:
        """Return the name of the caller's key; "" where keys are off.

        Parameters
        ----------
        presented
            See :func:`presented_key`.
        known
            That of the connection, which is asked first and told.

        Raises
        ------
        Problem
            ``unauthenticated``, ``forbidden`` or ``rate_limited``.
        """
        if self._path is None:
            return ""
        # In constant time here as well: behind a proxy, a connection may be that of several callers.
        if (
            known is not None
            and known.entries is self._entries
            and known.found is not None
            and hmac.compare_digest(known.presented, presented)
        ):
            entry = known.found
        else:
            entry = self._find(presented)
            if known is not None:
                known.presented, known.found, known.entries = presented, entry, self._entries
        found = entry.key
        if scope not in found.scopes:
            raise Problem(
                "forbidden", f"the key {found.name!r} has the scopes {', '.join(found.scopes)}; expected {scope}"
            )
        if found.requests_per_s is not None:
            self._meter_out(found, found.requests_per_s, entry.slot)
        return found.name

    def _find(self, presented: bytes) -> _Entry:
        digest = hashlib.sha256(presented).digest()
        found: _Entry | None = None
        for entry in self._entries:  # all of them, whichever matches: time tells nothing
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        if found is None:
            raise Problem(
                "unauthenticated",
                "expected a known key as `Authorization: Bearer <key>` or `X-API-Key: <key>`",
                headers={"WWW-Authenticate": 'Bearer realm="aforo"'},
            )
        return found

    def _meter_out(self, key: ApiKey, rate: float, slot: int) -> None:
        # Generic cell rate algorithm: one number a key, when the bucket will be empty again. Two workers may
        # now and then read the same number, which lets one request too many through, never one too few.
        now = self._now()
        (arrival,) = _SLOT.unpack_from(self._meter, slot)
        arrival = max(arrival, now)
        if arrival - now > max(1.0, 1.0 / rate) - 1.0 / rate + 1e-9:
            wait_s = arrival - now - max(1.0, 1.0 / rate) + 1.0 / rate
            raise Problem(
                "rate_limited",
                f"the key {key.name!r} has used up its {rate:g} requests a second",
                headers={"Retry-After": str(max(1, round(wait_s + 0.5)))},
            )
        _SLOT.pack_into(self._meter, slot, arrival + 1.0 / rate)


def presented_key(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the key that a request presents, as ``X-API-Key`` or as bearer token; empty if it does not."""
    presented = headers.get(b"x-api-key")
    if presented is None:
        scheme, _, presented = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return b""
    return presented.strip()


def shared_meter() -> mmap.mmap:
    """Return memory that processes forked from this one share."""
    return mmap.mmap(-1, _MOST_KEYS * _SLOT.size)
