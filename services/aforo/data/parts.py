"""Tables as Parquet files whose bytes depend on the rows alone.

However the rows arrive (batch sizes, threads, time, machine), the same rows in the same order give the same
files: a part has a fixed number of rows, and all that the format leaves open is pinned here.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import polars as pl

from aforo.data.statistics import TableStatistics

_CELLS_PER_PART = 1 << 24
_FEWEST_ROWS, _MOST_ROWS = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Part:
    """One file of a table."""

    path: Path
    rows: int
    size_bytes: int
    sha256: str


def rows_per_part(columns: int) -> int:
    """Rows of each part but the last: a part has about 16 million cells, so that one fits into memory."""
    return min(_MOST_ROWS, max(_FEWEST_ROWS, _CELLS_PER_PART // columns))


class PartWriter:
    """Writes rows into parts of a fixed size.

    Parameters
    ----------
    folder
        Gets ``part-00000.parquet``, ``part-00001.parquet``, ...
    schema
        Names and types of the columns, in order.
    part_rows
        Default: what `rows_per_part` says.
    """

    def __init__(self, folder: Path, schema: dict[str, pl.DataType], part_rows: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._rows_per_part = part_rows or rows_per_part(len(schema))
        self._waiting: list[pl.DataFrame] = [pl.DataFrame(schema=schema)]
        self._waiting_rows = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="part-writer")
        self._pending: Future[None] | None = None
        self._written = 0
        self.parts: list[Part] = []
        self.statistics = TableStatistics(schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The folder goes away next: nothing may still be written into it.
        self._pool.shutdown(wait=True, cancel_futures=True)

    def write(self, rows: pl.DataFrame) -> None:
        """Append rows; they are on disk when their part is full."""
        self._waiting.append(rows)
        self._waiting_rows += rows.height
        while self._waiting_rows >= self._rows_per_part:
            self._flush(self._rows_per_part)

    def close(self) -> list[Part]:
        """Write what waits, and return all parts."""
        if self._waiting_rows:
            self._flush(self._waiting_rows)
        self._wait()
        self._pool.shutdown()
        return self.parts

    def _flush(self, count: int) -> None:
        waiting = pl.concat(self._waiting)
        # In as many pieces as they came in: the file's bytes are the same, and putting them together copies the part.
        rows = waiting.head(count)
        self._waiting = [waiting.tail(-count) if count < waiting.height else waiting.clear()]
        self._waiting_rows -= count
        path = self._folder / f"part-{self._written:05}.parquet"
        self._written += 1
        # One part is compressed while the next is gathered, and never more than one.
        self._wait()
        self._pending = self._pool.submit(self._write_part, rows, path)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def _write_part(self, rows: pl.DataFrame, path: Path) -> None:
        rows.write_parquet(path, compression="zstd", compression_level=1, statistics=True, row_group_size=1 << 18)
        self.statistics.add(rows)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.parts.append(Part(path, rows.height, path.stat().st_size, digest))
