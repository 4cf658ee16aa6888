"""CSV files, plain or packed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.csv as pc
from pydantic import Field

from aforo.data.sources.locations import Location, local_copy, locate, open_bytes
from aforo.data.sources.reader import Batch, BrokenRow, SourceSpec, require_columns
from aforo.errors import SourceError
from aforo.settings import Settings

# Large enough that the work per batch outweighs its overhead, small enough to hold a few of them.
_BLOCK_BYTES = 1 << 24


class CsvSource(SourceSpec):
    """CSV files with a header.

    Attributes
    ----------
    path
        Path, glob or URL. ``.gz``, and ``.zip`` with one member, are unpacked on the way.
    null_values
        Texts that mean *missing*. An empty field always does.
    encoding
        Of the text. A byte order mark is skipped.
    """

    kind: Literal["csv"] = "csv"
    path: str
    null_values: tuple[str, ...] = ()
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8"

    @property
    def name(self) -> str:
        return self.path

    def open(self, folder: Path, settings: Settings) -> CsvReader:
        return CsvReader(
            locate(self.path, folder, settings),
            null_values=self.null_values,
            separator=self.separator,
            encoding=self.encoding,
        )


class CsvReader:
    """Reads every column as text, so that nothing is guessed and a bad value can be shown as it was written."""

    def __init__(
        self, files: Sequence[Location], *, null_values: Sequence[str], separator: str = ",", encoding: str = "utf-8"
    ) -> None:
        self._files = files
        self._null_values = ["", *null_values]
        self._separator = separator
        self._encoding = encoding

    @cached_property
    def columns(self) -> tuple[str, ...]:
        with local_copy(self._files[0]) as path:
            return self._header(path)

    def batches(self, wanted: Sequence[str]) -> Iterator[Batch]:
        for file in self._files:
            with local_copy(file) as path:
                require_columns(path.name, wanted, self._header(path))
                yield from self._batches(path, wanted)

    def _batches(self, path: Path, wanted: Sequence[str]) -> Iterator[Batch]:
        skipped: list[BrokenRow] = []

        def skip(row: pc.InvalidRow) -> str:
            # The reader counts the header as row 1.
            reason = f"expected {row.expected_columns} fields, found {row.actual_columns}"
            skipped.append(BrokenRow(row.number - 1, reason, row.text))
            return "skip"

        taken = 0
        next_number = 1
        with open_bytes(path) as stream, _format_named(path.name, self._encoding):
            for batch in self._stream(stream, wanted, skip):
                numbers = _numbers(next_number, batch.num_rows, [row.number for row in skipped[taken:]])
                if batch.num_rows:
                    next_number = int(numbers[-1]) + 1
                reported = sum(row.number < next_number for row in skipped[taken:])
                broken = tuple(skipped[taken : taken + reported])
                taken += reported
                yield Batch(_as_polars(batch, wanted), numbers, path.name, broken)
        if skipped[taken:]:
            nothing = pl.DataFrame(schema=dict.fromkeys(wanted, pl.String))
            yield Batch(nothing, np.empty(0, dtype=np.int64), path.name, tuple(skipped[taken:]))

    def _header(self, path: Path) -> tuple[str, ...]:
        with open_bytes(path) as stream, _format_named(path.name, self._encoding):
            return tuple(self._stream(stream, None, lambda _: "skip").schema.names)

    def _stream(
        self,
        stream: IO[bytes],
        wanted: Sequence[str] | None,
        skip: Callable[[pc.InvalidRow], str],
    ) -> pc.CSVStreamingReader:
        return pc.open_csv(
            stream,
            # Row numbers are only known to a single thread.
            read_options=pc.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, encoding=self._encoding),
            parse_options=pc.ParseOptions(delimiter=self._separator, newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(wanted or (), pa.string()),
                include_columns=wanted,
                null_values=self._null_values,
                strings_can_be_null=True,
            ),
        )


def _numbers(start: int, rows: int, skipped: Sequence[int]) -> npt.NDArray[np.int64]:
    """Number ``rows`` rows from ``start``, leaving out the skipped ones."""
    numbers = np.arange(start, start + rows + len(skipped), dtype=np.int64)
    return numbers[~np.isin(numbers, skipped)][:rows] if skipped else numbers


def _as_polars(batch: pa.RecordBatch, wanted: Sequence[str]) -> pl.DataFrame:
    if not wanted:
        raise ValueError("a batch without columns has no rows to count")
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101  from_arrow gives a Series for arrays alone
    return frame.select(wanted)


@contextmanager
def _format_named(name: str, encoding: str) -> Iterator[None]:
    """Say what is wrong with the file, in place of the parser's own words where it is clearer."""
    try:
        yield
    except pa.ArrowInvalid as error:
        text = str(error)
        if "Empty CSV" in text:
            raise SourceError(f"{name} is empty", hint="expected a header line and rows below it") from error
        if "UTF8" in text:
            raise SourceError(
                f"{name} is not {encoding} text: {text}", hint="set the source's `encoding`, for example latin-1"
            ) from error
        raise SourceError(f"{name} is not a CSV file: {text}", hint="check its separator and quotes") from error
    except (UnicodeError, LookupError) as error:
        raise SourceError(
            f"{name} is not {encoding} text: {error}", hint="set the source's `encoding`, for example latin-1"
        ) from error
