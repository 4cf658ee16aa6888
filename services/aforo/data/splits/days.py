"""The day that a row belongs to, for the splits along time."""

from __future__ import annotations

import polars as pl

from aforo.contracts.table import ColumnType
from aforo.errors import DataError

DAY_TYPES: tuple[ColumnType, ...] = ("date", "timestamp")


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
