"""The store's objects as one tar stream: ``objects.py save`` to stdout, ``objects.py load`` from stdin.

Names in the stream are ``bucket/key``. Loading leaves exactly what the stream holds: what is not in it is deleted,
after all that is in it has arrived. ``objects.py check`` says whether every bucket is there.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import boto3
from botocore.config import Config

SECRETS = Path(os.environ.get("AFORO_SECRETS", "/run/secrets"))
BUCKETS = ("raw", "snapshots", "runs", "models", "predictions")


def main() -> None:
    store = boto3.client(
        "s3",
        endpoint_url=os.environ["AFORO_S3_ENDPOINT_URL"],
        aws_access_key_id=(SECRETS / "store_root_user").read_text(encoding="utf-8").strip(),
        aws_secret_access_key=(SECRETS / "store_root_password").read_text(encoding="utf-8").strip(),
        region_name="us-east-1",
        config=Config(request_checksum_calculation="when_required", response_checksum_validation="when_required"),
    )
    {"save": save, "load": load, "check": check}[sys.argv[1]](store)


def check(store: Any) -> None:
    missing = set(BUCKETS) - {bucket["Name"] for bucket in store.list_buckets().get("Buckets", [])}
    if missing:
        sys.exit(f"missing buckets: {', '.join(sorted(missing))}")


def objects(store: Any) -> Iterator[tuple[str, str]]:
    for bucket in BUCKETS:
        for page in store.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page.get("Contents", []):
                yield bucket, item["Key"]


def save(store: Any) -> None:
    count = size = 0
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as stream:
        for bucket, key in objects(store):
            item = store.get_object(Bucket=bucket, Key=key)
            entry = tarfile.TarInfo(f"{bucket}/{key}")
            entry.size = item["ContentLength"]
            stream.addfile(entry, item["Body"])
            count, size = count + 1, size + entry.size
    print(f"{count} objects, {size} bytes", file=sys.stderr)


class Forward(io.RawIOBase):
    """A member of a tar stream as a file that is read once, from its beginning to its end."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._content.read(size)


def load(store: Any) -> None:
    loaded = set()
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as stream:
        for entry in stream:
            bucket, _, key = entry.name.partition("/")
            if bucket not in BUCKETS or not entry.isfile():
                sys.exit(f"{entry.name} does not belong into any of our buckets")
            content = stream.extractfile(entry)
            if content is None:
                sys.exit(f"{entry.name} has no content")
            store.upload_fileobj(Forward(content), bucket, key)
            loaded.add((bucket, key))
    surplus = [item for item in objects(store) if item not in loaded]
    for bucket, key in surplus:
        store.delete_object(Bucket=bucket, Key=key)
    print(f"{len(loaded)} objects, {len(surplus)} others deleted", file=sys.stderr)


if __name__ == "__main__":
    main()
