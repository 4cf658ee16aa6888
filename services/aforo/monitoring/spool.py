"""The write-ahead spool of the prediction log: files on this machine's disk, appended to without waiting.

::

    <folder>/<model>@<version>@<begun>-<id>.segment    a segment: a header line, then blocks of records
    <folder>/damaged/                                  segments that could not be read; a person has to look

One process writes a segment, and holds a lock on it (``flock``) that the kernel releases however that process ends. So
a segment that can be locked is complete, and nobody has to be asked whether its writer lives.

A block is in the kernel's page cache when :meth:`Spool.append` returns: it survives ``kill -9`` of the process, and
nothing is waited for. A power cut can cost the last seconds, which is the price of not waiting for the disk.

When the spool is at its budget, or its disk refuses a write, records are not kept: they are counted by reason, the
predictions are answered all the same, and what is in the spool already stays. That is tried again once a second.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import mmap
import os
import secrets
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from aforo.errors import SettingsError

logger = logging.getLogger(__name__)

SUFFIX = ".segment"
DAMAGED = "damaged"
BUDGET, DISK = "budget", "disk"
"""Why a record is not kept."""

_RETRY_S = 1.0
_GAUGE = struct.Struct("=QQQd")


@dataclass(frozen=True, kw_only=True)
class SpoolOptions:
    """How the spool is kept.

    Attributes
    ----------
    folder
        Made if it is not there.
    budget_bytes
        What the whole folder may take.
    rotate_s, rotate_bytes
        A segment is completed, and so can be shipped, at this age or size, whichever comes first.
    ships
        Whether the service starts the process that ships; ``False`` where another service does.
    keep_days
        How long the log stays in the store.
    """

    folder: Path
    budget_bytes: int = 2**30
    rotate_s: float = 60.0
    rotate_bytes: int = 8 * 2**20
    ships: bool = True
    keep_days: int = 365

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], home: Path) -> SpoolOptions | None:
        """Read ``AFORO_SERVE_LOG`` and the variables that begin with ``AFORO_SERVE_LOG_``; ``None`` if it is off.

        Raises
        ------
        SettingsError
            A value cannot be used.
        """
        if not _switch(environ, "AFORO_SERVE_LOG"):
            return None
        return cls(
            folder=Path(environ.get("AFORO_SERVE_LOG_FOLDER") or home / "spool").absolute(),
            budget_bytes=_number(environ, "AFORO_SERVE_LOG_BUDGET_MB", 1024) * 2**20,
            rotate_s=_number(environ, "AFORO_SERVE_LOG_ROTATE_S", 60),
            ships=_switch(environ, "AFORO_SERVE_LOG_SHIP"),
            keep_days=_number(environ, "AFORO_SERVE_LOG_KEEP_DAYS", 365),
        )

    def prepare(self) -> None:
        """Make the folder, and try to write to it.

        Raises
        ------
        SettingsError
            It cannot be written to, or this environment is to ship and has nothing to write Parquet with.
        """
        if self.ships and find_spec("polars") is None:
            raise SettingsError(
                "the prediction log cannot be shipped from here: polars is not installed",
                hint="set AFORO_SERVE_LOG_SHIP=off and run `python -m aforo.monitoring.shipping` over the same folder "
                "where it is, or set AFORO_SERVE_LOG=off",
            )
        probe = self.folder / f".probe-{secrets.token_hex(4)}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"\0" * mmap.PAGESIZE)
            probe.unlink()
        except OSError as error:
            raise SettingsError(
                f"the prediction log cannot be written to its spool {self.folder}: {error.strerror}",
                hint="check the folder's owner and the space left on its disk, name another one in "
                "AFORO_SERVE_LOG_FOLDER, or set AFORO_SERVE_LOG=off",
            ) from error


class SpoolGauge:
    """What the spool holds, measured by one process and read by all that are forked from it.

    Parameters
    ----------
    writers
        Among how many processes the room that is left is divided.
    """

    def __init__(self, folder: Path, *, budget_bytes: int, writers: int) -> None:
        self._folder = folder
        self._budget_bytes = budget_bytes
        self._writers = writers
        self._memory = mmap.mmap(-1, _GAUGE.size)
        self.measure()

    def measure(self) -> None:
        """Look at the folder."""
        used = segments = 0
        oldest = 0.0
        for folder in (self._folder, self._folder / DAMAGED):
            try:
                entries = list(os.scandir(folder))
            except FileNotFoundError:
                continue
            for entry in entries:
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue  # shipped meanwhile
                if entry.is_file():
                    used += status.st_size
                    if entry.name.endswith(SUFFIX):
                        segments += 1
                        oldest = min(oldest or status.st_ctime, status.st_ctime)
        number = _GAUGE.unpack_from(self._memory)[0]
        _GAUGE.pack_into(self._memory, 0, number + 1, used, segments, oldest)

    @property
    def number(self) -> int:
        """Of the last measurement."""
        return int(_GAUGE.unpack_from(self._memory)[0])

    @property
    def used_bytes(self) -> int:
        return int(_GAUGE.unpack_from(self._memory)[1])

    @property
    def segments(self) -> int:
        return int(_GAUGE.unpack_from(self._memory)[2])

    @property
    def room_bytes(self) -> int:
        """What one writer may add until the next measurement."""
        return max(0, self._budget_bytes - self.used_bytes) // self._writers


@dataclass
class _OpenSegment:
    descriptor: int
    begun: float
    size: int


class Spool:
    """Appends to segments; made for one process, after it was forked.

    Parameters
    ----------
    gauge
        Tells how much room there is; measured by somebody else.
    on_dropped
        Told why records are not kept, and how many.
    """

    def __init__(self, options: SpoolOptions, gauge: SpoolGauge, on_dropped: Callable[[str, int], None]) -> None:
        self._options = options
        self._gauge = gauge
        self._on_dropped = on_dropped
        self._segments: dict[str, _OpenSegment] = {}
        self._measurement = -1
        self._room_bytes = 0
        self._refused_until = 0.0
        self._trouble: str | None = None

    def append(self, series: str, header: bytes, block: bytes, *, records: int = 1) -> bool:
        """Add a block of records, and return whether it was kept.

        Parameters
        ----------
        series
            What its segments' names begin with, ``model@version``.
        header
            First line of each of the series' segments, without a newline.
        records
            How many are in the block; if it is not kept, all of them count as dropped.
        """
        if len(block) + len(header) > self._room_bytes and not self._find_room(len(block) + len(header)):
            return self._drop(BUDGET, "the spool has reached its budget", records)
        if self._refused_until and time.monotonic() < self._refused_until:
            self._on_dropped(DISK, records)
            return False
        segment = self._segments.get(series)
        try:
            if segment is None:
                segment = self._segments[series] = self._begin(series, header)
            written = os.write(segment.descriptor, block)
            if written != len(block):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            # What follows half a block could not be read, so the next block gets a segment of its own.
            self._close(series)
            self._refused_until = time.monotonic() + _RETRY_S
            return self._drop(DISK, f"the spool cannot be written: {error.strerror}", records)
        self._room_bytes -= written
        segment.size += written
        if segment.size >= self._options.rotate_bytes:
            self._close(series)
        if self._trouble is not None:
            logger.info("predictions are recorded again")
            self._trouble, self._refused_until = None, 0.0
        return True

    def tend(self) -> None:
        """Complete the segments that are old enough, and see how much room there is; called about once a second."""
        self._find_room(0)
        now = time.monotonic()
        for series, segment in tuple(self._segments.items()):
            if now - segment.begun >= self._options.rotate_s:
                self._close(series)

    def close(self) -> None:
        """Complete all segments."""
        for series in tuple(self._segments):
            self._close(series)

    def _begin(self, series: str, header: bytes) -> _OpenSegment:
        begun = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        name = f"{series}@{begun}-{secrets.token_hex(4)}{SUFFIX}"
        partial = self._options.folder / f".{name}"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            # Locked before it has a name that the shipper looks for.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.write(descriptor, header + b"\n") != len(header) + 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            partial.rename(self._options.folder / name)
        except OSError:
            os.close(descriptor)
            partial.unlink(missing_ok=True)
            raise
        self._room_bytes -= len(header) + 1
        return _OpenSegment(descriptor, time.monotonic(), len(header) + 1)

    def _close(self, series: str) -> None:
        segment = self._segments.pop(series, None)
        if segment is not None:
            os.close(segment.descriptor)

    def _find_room(self, size: int) -> bool:
        """Take what a new measurement allows; return whether it is enough."""
        if self._gauge.number != self._measurement:
            self._measurement = self._gauge.number
            self._room_bytes = self._gauge.room_bytes
        return size <= self._room_bytes

    def _drop(self, reason: str, trouble: str, records: int) -> bool:
        self._on_dropped(reason, records)
        if trouble != self._trouble:
            logger.error("predictions are answered and not recorded", extra={"reason": trouble})
            self._trouble = trouble
        return False


@contextmanager
def claimed(path: Path) -> Iterator[BinaryIO | None]:
    """Open a segment for reading; ``None`` if it is being written, claimed by another reader, or gone."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        # Whoever had it claimed before may have shipped and removed it.
        yield file if path.exists() else None


def segments_in(folder: Path) -> list[Path]:
    """Return the segments in the folder, the oldest first, whether complete or not."""
    return sorted(folder.glob(f"[!.]*{SUFFIX}"), key=lambda path: path.name.rpartition("@")[2])


def _switch(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name) or "on"
    if text not in ("on", "off"):
        raise SettingsError(f"{name} is {text!r}; expected on or off")
    return text == "on"


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"{name} is {text!r}; expected a whole number, 1 or more")
    return int(text)
