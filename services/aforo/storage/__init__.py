"""The object store: S3 in the stack, a folder without it, behind one small interface."""

from aforo.errors import ObjectMissing
from aforo.storage.folder import LocalStore
from aforo.storage.objects import ObjectStore, StoredObject
from aforo.storage.opening import open_store
from aforo.storage.s3 import S3Store

__all__ = ["LocalStore", "ObjectMissing", "ObjectStore", "S3Store", "StoredObject", "open_store"]
