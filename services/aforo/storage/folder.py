"""The object store in a folder of this machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from aforo.errors import StoreUnavailable
from aforo.storage.objects import PARTIAL, StoredObject, missing, refuse_bad_bucket, refuse_bad_key

# Temporary files are their owner's alone; objects are shared between services.
_READABLE = 0o644


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
        refuse_bad_bucket(prefix.partition("/")[0], prefix)
        start = self.folder / prefix.rpartition("/")[0]
        found = []
        for folder, _, files in os.walk(start, onerror=_raise_unless_missing):
            for name in files:
                key = (Path(folder) / name).relative_to(self.folder).as_posix()
                if key.startswith(prefix) and not name.startswith(PARTIAL):
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
        refuse_bad_key(key)
        return self.folder / key

    @contextmanager
    def _partial(self, path: Path) -> Iterator[Path]:
        """A file beside ``path`` that is gone afterwards, unless it was moved into place."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
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
                raise missing(key, str(self.folder)) from error
            raise StoreUnavailable(
                f"{self.folder}: cannot reach {key!r}: {error.strerror or error}",
                hint="check the folder's owner and the space left on its disk",
            ) from error


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise StoreUnavailable(f"cannot list {error.filename}: {error.strerror}") from error
