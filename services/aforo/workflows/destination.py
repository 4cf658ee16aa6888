"""Where results go that a person asked for: a folder of his machine, or a prefix of the S3 store."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aforo.errors import ObjectMissing, SettingsError, StoreUnavailable
from aforo.settings import Settings
from aforo.storage import S3Store


class Destination(Protocol):
    """Files by name, each complete or absent."""

    @property
    def address(self) -> str:
        """How messages call it."""

    def names(self) -> list[str]:
        """Return what is there, sorted."""

    def read(self, name: str) -> bytes | None:
        """Return the file's bytes, ``None`` if there is none."""

    def write(self, name: str, data: bytes) -> None: ...


def destination_at(address: str, settings: Settings) -> Destination:
    """Return the destination that a path or an ``s3://bucket/prefix`` names.

    Raises
    ------
    SettingsError
        The address has no prefix in its bucket, or is a file.
    """
    if address.startswith("s3://"):
        bucket, _, prefix = address.removeprefix("s3://").strip("/").partition("/")
        if not prefix:
            raise SettingsError(
                f"{address!r} is a whole bucket; expected s3://bucket/prefix", hint=f"for example s3://{bucket}/scores"
            )
        return _Prefix(S3Store.from_settings(settings), f"{bucket}/{prefix}")
    folder = Path(address).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is a file; expected a folder, for the parts of the output")
    return _Folder(folder)


@dataclass(frozen=True)
class _Prefix:
    store: S3Store
    prefix: str

    @property
    def address(self) -> str:
        return f"s3://{self.prefix}"

    def names(self) -> list[str]:
        return [key.removeprefix(f"{self.prefix}/") for key in self.store.list(f"{self.prefix}/")]

    def read(self, name: str) -> bytes | None:
        try:
            return self.store.read(f"{self.prefix}/{name}")
        except ObjectMissing:
            return None

    def write(self, name: str, data: bytes) -> None:
        self.store.write(f"{self.prefix}/{name}", data)


@dataclass(frozen=True)
class _Folder:
    folder: Path

    @property
    def address(self) -> str:
        return str(self.folder)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []

    def read(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(prefix=".partial-", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                Path(partial).chmod(0o644)
                Path(partial).replace(self.folder / name)
            finally:
                Path(partial).unlink(missing_ok=True)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot write {name} into {self.folder}: {error.strerror or error}",
                hint="check the folder's owner and the space left on its disk; the same command goes on from there",
            ) from error
