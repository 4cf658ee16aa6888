"""Which store the settings name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from aforo.errors import SettingsError
from aforo.settings import Settings
from aforo.storage.folder import LocalStore
from aforo.storage.objects import ObjectStore
from aforo.storage.s3 import S3Store


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
