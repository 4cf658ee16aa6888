"""The interface of every object store, and what a key is.

A key is ``bucket/path/to/object``. An object is complete or absent: whatever stops a write half way leaves
the key as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from aforo.errors import ObjectMissing

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
PARTIAL = ".partial-"


class StoredObject(NamedTuple):
    """What a listing says about an object; ``modified_at`` (UTC) is when it was written last."""

    key: str
    size_bytes: int
    modified_at: datetime


class ObjectStore(Protocol):
    """Objects by key. Every method raises `StoreUnavailable` where the store does not answer."""

    def read(self, key: str) -> bytes:
        """Return the object's bytes; `ObjectMissing` if there is none."""

    def write(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write the object whole, and return whether it was written.

        With ``if_absent`` an existing object stays as it is and the answer is ``False``; of several
        writers at once exactly one is answered ``True``.
        """

    def upload(self, path: Path, key: str, *, move: bool = False) -> None:
        """Copy a file of this machine into the store, without holding it in memory.

        With ``move`` the file is gone afterwards, which saves a copy where the store is on the same disk.
        """

    def download(self, key: str, path: Path) -> None:
        """Copy an object to a file of this machine; the file appears when it is complete."""

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with ``prefix`` (text, not a folder), sorted. A bucket's name comes first."""

    def entries(self, prefix: str) -> Iterator[StoredObject]:
        """Yield what `list` does, with size and time."""

    def delete(self, key: str) -> None:
        """Remove the object; it is no fault if there is none."""

    def url(self, key: str) -> str:
        """Return what Polars opens to read the object in place, together with `scan_options`."""

    def scan_options(self) -> dict[str, str]:
        """Return the ``storage_options`` that go with `url`; they hold secrets."""


def missing(key: str, place: str) -> ObjectMissing:
    return ObjectMissing(f"no object {key!r} in {place}")


def refuse_bad_bucket(bucket: str, key: str) -> None:
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"key {key!r}: {bucket!r} is no bucket; expected 3-63 lower-case letters, digits, . and -")


def refuse_bad_key(key: str) -> None:
    bucket, _, path = key.partition("/")
    refuse_bad_bucket(bucket, key)
    if not path or any(part in ("", ".", "..") or part.startswith(PARTIAL) for part in path.split("/")):
        raise ValueError(f"key {key!r} is not usable: expected bucket/path without empty, . or .. parts")
