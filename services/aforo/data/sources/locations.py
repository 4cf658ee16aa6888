"""From a path in YAML to the files it means, on this machine or in an S3 store."""

from __future__ import annotations

import gzip
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

from aforo.errors import SourceError
from aforo.settings import Settings
from aforo.storage import S3Store

_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class Location:
    """One file.

    Attributes
    ----------
    path
        Where it is on this machine, or ``bucket/path`` in ``store``.
    """

    path: str
    store: S3Store | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def url(self) -> str:
        """What Polars opens."""
        return self.store.url(self.path) if self.store else self.path

    @property
    def stamp(self) -> str:
        """What changes when the file does."""
        if self.store:
            return self.store.stamp(self.path)
        status = Path(self.path).stat()
        return f"{status.st_size}-{status.st_mtime_ns}"

    @property
    def scan_options(self) -> dict[str, str] | None:
        return self.store.scan_options() if self.store else None


def locate(path: str, folder: Path, settings: Settings) -> list[Location]:
    """Return the files that ``path`` means, sorted by name.

    Parameters
    ----------
    path
        A path or glob, relative to ``folder`` or absolute; ``file:///...``; or ``s3://bucket/...`` in the store of
        the settings.

    Raises
    ------
    SourceError
        There is no such file.
    """
    if path.startswith("s3://"):
        found = _in_store(path.removeprefix("s3://"), S3Store.from_settings(settings))
    else:
        found = _on_this_machine(path, folder)
    if not found:
        raise SourceError(
            f"no file matches {path!r} (relative paths start at {folder})",
            hint="check the path in the use case's `source`",
        )
    return found


def _on_this_machine(path: str, folder: Path) -> list[Location]:
    local = Path(url2pathname(urlsplit(path).path)) if path.startswith("file://") else Path(path).expanduser()
    local = folder / local
    if local.is_file():
        return [Location(str(local))]
    pattern = local.relative_to(local.anchor)
    if not _WILDCARDS.intersection(str(pattern)):
        return []
    return [Location(str(file)) for file in sorted(Path(local.anchor).glob(str(pattern))) if file.is_file()]


def _in_store(path: str, store: S3Store) -> list[Location]:
    start = min((path.index(sign) for sign in _WILDCARDS if sign in path), default=len(path))
    keys = store.list(path[:start])
    if start == len(path):
        return [Location(key, store) for key in keys if key == path]
    # As in a folder, `*` stays within one level.
    depth = path.count("/")
    return [Location(key, store) for key in keys if key.count("/") == depth and fnmatchcase(key, path)]


@contextmanager
def local_copy(location: Location) -> Iterator[Path]:
    """Where the file is on this machine.

    An object of an S3 store is copied to a temporary file, so that a connection that breaks in the middle costs a
    repeat and not the run.
    """
    if location.store is None:
        yield Path(location.path)
        return
    with tempfile.TemporaryDirectory(prefix="aforo-source-") as folder:
        path = Path(folder) / location.name
        location.store.download(location.path, path)
        yield path


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading from its beginning; ``.zip`` (of one member) and ``.gz`` are unpacked on the way."""
    with ExitStack() as stack:
        stack.enter_context(_damage_named(path.name))
        if path.suffix == ".zip":
            archive = stack.enter_context(zipfile.ZipFile(path))
            members = [member for member in archive.namelist() if not member.endswith("/")]
            if len(members) != 1:
                raise SourceError(
                    f"{path.name} holds {len(members)} files; expected one: {', '.join(members[:5])}",
                    hint="pack each table into a zip file of its own",
                )
            yield stack.enter_context(archive.open(members[0]))
        elif path.suffix == ".gz":
            file = gzip.GzipFile(path)
            stack.callback(file.close)
            yield cast("IO[bytes]", file)
        else:
            yield stack.enter_context(path.open("rb"))


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Say which file is damaged, whichever library noticed."""
    try:
        yield
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise SourceError(
            f"{name} is damaged or cut short: {error}", hint="fetch the file again and compare its size"
        ) from error
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror or error}") from error
