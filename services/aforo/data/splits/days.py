"""The day that a row belongs to, for the splits along time."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from aforo.contracts.table import ColumnType, TableContract
from aforo.data.splits.strategy import SplitSpecification, refuse_types
from aforo.errors import DataError

DAY_TYPES: tuple[ColumnType, ...] = ("date", "timestamp")


class DaySplitSpecification(SplitSpecification):
    """The base of the splits by the day of ``column``; each has a ``kind``, which its messages name."""

    kind: str
    column: str

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        return {"column": (self.column,), **super().reads}

    def refuse_unfit(self, table: TableContract) -> None:
        super().refuse_unfit(table)
        why = f"and a {self.kind} split needs a date or a timestamp"
        refuse_types(table, "column", (self.column,), DAY_TYPES, why)


def day_of(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return the day of a date, or the day in UTC of a timestamp.

    Raises
    ------
    DataError
        The column is neither.
    """
    if dtype == pl.Date:
        return pl.col(name)
    if isinstance(dtype, pl.Datetime):
        moment = pl.col(name)
        return (moment.dt.convert_time_zone("UTC") if dtype.time_zone else moment).dt.date()
    raise DataError(
        f"column {name!r} is a {dtype}; a split along time needs a date or a timestamp",
        hint="name a date or timestamp column, or derive one with `expression`",
    )
