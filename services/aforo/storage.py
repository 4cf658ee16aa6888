"""The object store: S3 in the stack, a folder without it, behind one small interface.

A key is ``bucket/path/to/object``. An object is complete or absent: whatever stops a write half way leaves
the key as it was.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from aforo.errors import AforoError, ObjectMissing, SettingsError, StoreUnavailable
from aforo.settings import Settings

__all__ = ["LocalStore", "ObjectMissing", "ObjectStore", "S3Store", "StoredObject", "open_store"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PARTIAL = ".partial-"
# Temporary files are their owner's alone; objects are shared between services.
_READABLE = 0o644


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


def open_store(settings: Settings) -> ObjectStore:
    """Open the store that the settings name."""
    parts = urlsplit(settings.store_url)
    if parts.scheme == "file":
        return LocalStore(Path(url2pathname(parts.path)))
    if parts.netloc or parts.path.strip("/"):
        raise SettingsError(
            f"AFORO_STORE_URL is {settings.store_url!r}; expected s3:// alone, because each kind of data has a bucket",
            hint="put what the bucket names begin with into AFORO_S3_BUCKET_PREFIX",
        )
    return S3Store.from_settings(settings, bucket_prefix=settings.s3_bucket_prefix)


class LocalStore:
    """A folder with one folder a bucket.

    Parameters
    ----------
    folder
        Made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> bytes:
        with self._faults(key):
            return self._path(key).read_bytes()

    def write(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        with self._faults(key, writing=True), self._partial(self._path(key)) as partial:
            partial.write_bytes(data)
            return self._commit(partial, self._path(key), if_absent=if_absent)

    def upload(self, path: Path, key: str, *, move: bool = False) -> None:
        # Opened first: that it is absent is the caller's fault and not the store's.
        with path.open("rb"), self._faults(key, writing=True), self._partial(self._path(key)) as partial:
            if move:
                shutil.move(path, partial)
                partial.chmod(_READABLE)
            else:
                shutil.copyfile(path, partial)
            self._commit(partial, self._path(key), if_absent=False)

    def download(self, key: str, path: Path) -> None:
        with self._faults(key), self._partial(path) as partial:
            shutil.copyfile(self._path(key), partial)
            partial.replace(path)

    def exists(self, key: str) -> bool:
        with self._faults(key):
            return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        _refuse_bad_bucket(prefix.partition("/")[0], prefix)
        start = self.folder / prefix.rpartition("/")[0]
        found = []
        for folder, _, files in os.walk(start, onerror=_raise_unless_missing):
            for name in files:
                key = (Path(folder) / name).relative_to(self.folder).as_posix()
                if key.startswith(prefix) and not name.startswith(_PARTIAL):
                    found.append(key)
        yield from sorted(found)

    def entries(self, prefix: str) -> Iterator[StoredObject]:
        for key in self.list(prefix):
            # What is deleted while it is listed was not there.
            with self._faults(key), suppress(FileNotFoundError):
                status = self._path(key).stat()
                yield StoredObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def delete(self, key: str) -> None:
        with self._faults(key):
            self._path(key).unlink(missing_ok=True)

    def url(self, key: str) -> str:
        return str(self._path(key))

    def scan_options(self) -> dict[str, str]:
        return {}

    def _path(self, key: str) -> Path:
        _refuse_bad_key(key)
        return self.folder / key

    @contextmanager
    def _partial(self, path: Path) -> Iterator[Path]:
        """A file beside ``path`` that is gone afterwards, unless it was moved into place."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
        os.close(handle)
        partial = Path(name)
        partial.chmod(_READABLE)
        try:
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    @staticmethod
    def _commit(partial: Path, path: Path, *, if_absent: bool) -> bool:
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        if not if_absent:
            partial.replace(path)
            return True
        try:
            # A hard link fails where the name exists, which makes the test and the write one act.
            path.hardlink_to(partial)
        except FileExistsError:
            return False
        return True

    @contextmanager
    def _faults(self, key: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not writing and isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError)):
                raise _missing(key, str(self.folder)) from error
            raise StoreUnavailable(
                f"{self.folder}: cannot reach {key!r}: {error.strerror or error}",
                hint="check the folder's owner and the space left on its disk",
            ) from error


class S3Store:
    """An S3 store: MinIO, SeaweedFS, or any other that speaks the protocol.

    Parameters
    ----------
    endpoint
        Address of the store; ``None`` for Amazon's own.
    access_key, secret_key
        ``None`` for both leaves the search for keys to the S3 client.
    bucket_prefix
        Put before the bucket's name in each key, so that several platforms can share a store.

    Notes
    -----
    Buckets are never made here: the platform's keys are not allowed to.
    """

    def __init__(
        self,
        *,
        endpoint: str | None,
        region: str = "us-east-1",
        access_key: str | None = None,
        secret_key: str | None = None,
        bucket_prefix: str = "",
    ) -> None:
        # Imported here because the prediction API imports this module, and needs no S3 client when it reads a folder.
        import boto3
        from botocore.config import Config

        self.endpoint = endpoint
        self.bucket_prefix = bucket_prefix
        self._region = region
        self._keys = (access_key, secret_key)
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path" if endpoint else "auto"},
                # Newer clients add checksums that other stores than Amazon's refuse.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=5,
                read_timeout=60,
                retries={"mode": "standard", "max_attempts": 4},
            ),
        )

    @classmethod
    def from_settings(cls, settings: Settings, *, bucket_prefix: str = "") -> S3Store:
        """Open the store of the settings; without ``bucket_prefix`` keys name buckets as they are."""
        return cls(
            endpoint=settings.s3_endpoint_url,
            region=settings.s3_region,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            bucket_prefix=bucket_prefix,
        )

    def read(self, key: str) -> bytes:
        with self._faults(key):
            return bytes(self._client.get_object(**self._address(key))["Body"].read())

    def write(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if if_absent else {}
        with self._faults(key):
            try:
                self._client.put_object(**self._address(key), Body=data, **condition)
            except ClientError as error:
                if if_absent and _status(error) in (409, 412):
                    return False
                raise
        return True

    def upload(self, path: Path, key: str, *, move: bool = False) -> None:
        with path.open("rb") as file, self._faults(key):
            self._client.upload_fileobj(file, **self._address(key))
        if move:
            path.unlink()

    def download(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
        partial = Path(name)
        try:
            with self._faults(key), os.fdopen(handle, "wb") as file:
                self._client.download_fileobj(**self._address(key), Fileobj=file)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        try:
            with self._faults(key):
                self._client.head_object(**self._address(key))
        except ObjectMissing:
            return False
        return True

    def stamp(self, key: str) -> str:
        """Return the object's ETag, which changes with its bytes."""
        with self._faults(key):
            return str(self._client.head_object(**self._address(key))["ETag"]).strip('"')

    def list(self, prefix: str) -> Iterator[str]:
        return (entry.key for entry in self.entries(prefix))

    def entries(self, prefix: str) -> Iterator[StoredObject]:
        bucket, _, path = prefix.partition("/")
        _refuse_bad_bucket(bucket, prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket_prefix + bucket, Prefix=path)
        with self._faults(prefix):
            listed = [entry for page in pages for entry in page.get("Contents", ())]
        found = [StoredObject(f"{bucket}/{entry['Key']}", entry["Size"], entry["LastModified"]) for entry in listed]
        yield from sorted(found)

    def delete(self, key: str) -> None:
        with self._faults(key):
            self._client.delete_object(**self._address(key))

    def url(self, key: str) -> str:
        address = self._address(key)
        return f"s3://{address['Bucket']}/{address['Key']}"

    def scan_options(self) -> dict[str, str]:
        access_key, secret_key = self._keys
        options = {
            "aws_endpoint_url": self.endpoint,
            "aws_region": self._region,
            "aws_access_key_id": access_key,
            "aws_secret_access_key": secret_key,
            "aws_allow_http": "true" if (self.endpoint or "").startswith("http://") else None,
        }
        return {name: value for name, value in options.items() if value is not None}

    def _address(self, key: str) -> dict[str, str]:
        _refuse_bad_key(key)
        bucket, _, path = key.partition("/")
        return {"Bucket": self.bucket_prefix + bucket, "Key": path}

    @contextmanager
    def _faults(self, key: str) -> Iterator[None]:
        """Give the client's faults the names of `aforo.errors`."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        place = self.endpoint or "Amazon S3"
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            status = _status(error)
            bucket = self.bucket_prefix + key.partition("/")[0]
            if code == "NoSuchBucket":
                raise SettingsError(
                    f"{place} has no bucket {bucket!r}",
                    hint="create it, or correct AFORO_S3_BUCKET_PREFIX",
                ) from error
            if status == 404:
                raise _missing(key, place) from error
            if status in (401, 403):
                raise SettingsError(
                    f"{place} refuses these keys for {key!r} in bucket {bucket!r}: {code or status}",
                    hint="check AFORO_S3_ACCESS_KEY, AFORO_S3_SECRET_KEY and what that key is allowed to do",
                ) from error
            if status >= 500 or status == 429:
                raise _unavailable(place, key, error) from error
            raise AforoError(f"{place} refuses the request for {key!r}: {error}") from error
        except (BotoCoreError, Boto3Error) as error:
            raise _unavailable(place, key, error) from error


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _missing(key: str, place: str) -> ObjectMissing:
    return ObjectMissing(f"no object {key!r} in {place}")


def _unavailable(place: str, key: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"{place} does not answer for {key!r}: {error}",
        hint="check that the store runs and has space left, and that AFORO_S3_ENDPOINT_URL is its address",
    )


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise StoreUnavailable(f"cannot list {error.filename}: {error.strerror}") from error


def _refuse_bad_bucket(bucket: str, key: str) -> None:
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"key {key!r}: {bucket!r} is no bucket; expected 3-63 lower-case letters, digits, . and -")


def _refuse_bad_key(key: str) -> None:
    bucket, _, path = key.partition("/")
    _refuse_bad_bucket(bucket, key)
    if not path or any(part in ("", ".", "..") or part.startswith(_PARTIAL) for part in path.split("/")):
        raise ValueError(f"key {key!r} is not usable: expected bucket/path without empty, . or .. parts")
