"""The object store that speaks S3."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aforo.errors import AforoError, ObjectMissing, SettingsError, StoreUnavailable
from aforo.settings import Settings
from aforo.storage.objects import PARTIAL, StoredObject, missing, refuse_bad_bucket, refuse_bad_key


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
        handle, name = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
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
        refuse_bad_bucket(bucket, prefix)
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
        refuse_bad_key(key)
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
                raise missing(key, place) from error
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


def _unavailable(place: str, key: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"{place} does not answer for {key!r}: {error}",
        hint="check that the store runs and has space left, and that AFORO_S3_ENDPOINT_URL is its address",
    )
