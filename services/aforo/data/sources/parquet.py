"""Parquet files, read with the types they carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from aforo.data.sources.locations import Location, locate
from aforo.data.sources.reader import Batch, SourceSpec, require_columns
from aforo.errors import SourceError
from aforo.settings import Settings

_BATCH_ROWS = 1 << 17
_SPAN_ROWS = 1 << 20


class ParquetSource(SourceSpec):
    """Parquet files.

    Attributes
    ----------
    path
        Path, glob or URL.
    """

    kind: Literal["parquet"] = "parquet"
    path: str

    @property
    def name(self) -> str:
        return self.path

    def open(self, folder: Path, settings: Settings) -> ParquetReader:
        return ParquetReader(locate(self.path, folder, settings))


class ParquetReader:
    """Reads with Polars' streaming engine: a few row groups are in memory at a time, whatever the file's size."""

    def __init__(self, files: Sequence[Location]) -> None:
        self._files = files
        self.schema = self._schema(files[0])

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.schema)

    def batches(self, wanted: Sequence[str]) -> Iterator[Batch]:
        for file in self._files:
            require_columns(file.name, wanted, tuple(self._schema(file)))
            first = 1
            try:
                # One scan for all spans: Polars remembers the file's footer with it.
                scan = self._scan(file).select(wanted)
                for rows in _spans(file):
                    span = scan if rows is None else scan.slice(first - 1, rows)
                    for table in span.collect_batches(chunk_size=_BATCH_ROWS):
                        numbers = np.arange(first, first + table.height, dtype=np.int64)
                        first += table.height
                        yield Batch(table, numbers, file.name)
            except (pl.exceptions.PolarsError, pa.ArrowException, OSError) as error:
                raise _damaged(file, error) from error

    def _schema(self, file: Location) -> dict[str, pl.DataType]:
        try:
            return dict(self._scan(file).collect_schema())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _damaged(file, error) from error

    @staticmethod
    def _scan(file: Location) -> pl.LazyFrame:
        return pl.scan_parquet(file.url, storage_options=file.scan_options, glob=False)


def _spans(file: Location) -> Iterator[int | None]:
    """Yield how many rows to read in one go: whole row groups, of about a million rows; ``None`` is all of them.

    The streaming engine decodes ahead of whoever takes its batches, which a bound on the rows holds to 0.1 GB. Over a
    network, running ahead is what hides the wait.
    """
    if file.store is not None:
        yield None
        return
    footer = pq.read_metadata(file.path)
    rows = 0
    for group in range(footer.num_row_groups):
        rows += footer.row_group(group).num_rows
        if rows >= _SPAN_ROWS:
            yield rows
            rows = 0
    if rows:
        yield rows


def _damaged(file: Location, error: Exception) -> SourceError:
    return SourceError(
        f"{file.name} is not a whole Parquet file: {str(error).splitlines()[0]}",
        hint="fetch the file again and compare its size",
    )
