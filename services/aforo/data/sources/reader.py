"""What every source gives: batches of rows, each row with the number it has in its file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from aforo.contracts.specification import Specification
from aforo.errors import SourceError
from aforo.settings import Settings


@dataclass(frozen=True)
class BrokenRow:
    """A record that does not fit into columns at all, with its text as far as it is known."""

    number: int
    reason: str
    text: str


@dataclass(frozen=True)
class Batch:
    """Some consecutive rows of one file.

    Attributes
    ----------
    table
        The wanted columns (N rows), as typed as the source knows them: text for a CSV.
    numbers
        (N,) number of each row in its file; the first record is 1.
    file
        Name of the file, without its folder; empty for a query.
    broken
        Records that came between these rows and could not be read as rows.
    """

    table: pl.DataFrame
    numbers: npt.NDArray[np.int64]
    file: str
    broken: tuple[BrokenRow, ...] = ()


class Reader(Protocol):
    """An open source."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that the source has."""

    def batches(self, wanted: Sequence[str]) -> Iterator[Batch]:
        """Yield every row once, in the source's order, with the ``wanted`` columns alone."""


class SourceSpec(Specification):
    """What all sources share.

    Attributes
    ----------
    columns
        Contract column to column of the source, for those whose names differ.
    """

    columns: Mapping[str, str] = {}

    @abstractmethod
    def open(self, folder: Path, settings: Settings) -> Reader:
        """Find the source. Relative paths start at ``folder``.

        Raises
        ------
        SourceError
            It is not there, or is not what its kind says.
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """How messages call it; the same on every machine, and free of secrets."""


def require_columns(place: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    """Refuse a file that lacks columns, naming all of them at once."""
    missing = [name for name in wanted if name not in found]
    if missing:
        raise SourceError(
            f"{place} has no column {', '.join(map(repr, missing))}; it has: {', '.join(found)}",
            hint="correct the header, or map the name with `columns: {contract column: source column}` in the source",
        )
    repeated = sorted({name for name in wanted if list(found).count(name) > 1})
    if repeated:
        raise SourceError(
            f"{place} has more than one column {', '.join(map(repr, repeated))}", hint="name each column once"
        )


def first_rows(batches: Iterator[Batch], limit: int | None) -> Iterator[Batch]:
    """Yield batches until ``limit`` rows have come, cutting the last one; all of them without a limit."""
    left = limit
    for batch in batches:
        if left is None or batch.table.height < left:
            yield batch
            left = None if left is None else left - batch.table.height
            continue
        last = batch.numbers[left - 1]
        broken = tuple(row for row in batch.broken if row.number < last)
        yield Batch(batch.table.head(left), batch.numbers[:left], batch.file, broken)
        return
