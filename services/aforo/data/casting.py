"""From whatever type a source has to the type that the contract declares, losing nothing in silence.

A value that does not fit becomes null here; the caller sees it by comparing the nulls before and after.

========= ============================================================================================
contract  accepted
========= ============================================================================================
string    text as it is (no trimming), categories, whole numbers; ``""`` is missing
integer   whole numbers up to 2**53, also written as ``7.0``
number    finite numbers; NaN is missing
boolean   true/false, t/f, 1/0, in any case
date      ``YYYY-MM-DD``, timestamps at midnight
timestamp ISO 8601, with ``T`` or a space; without an offset it is UTC; dates are midnight
========= ============================================================================================

Text is trimmed before it is read as anything but text.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

import polars as pl

from aforo.contracts.table import LARGEST_EXACT_INTEGER, ColumnType
from aforo.errors import DataError

DTYPES: dict[ColumnType, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "timestamp": pl.Datetime("us", "UTC"),
}

FAULTS: dict[ColumnType, str] = {
    "string": "is not a text",
    "integer": "is not a whole number up to 2**53",
    "number": "is not a finite number",
    "boolean": "is neither true nor false",
    "date": "is not a date (YYYY-MM-DD)",
    "timestamp": "is not a timestamp (ISO 8601)",
}
"""What a message says of a value that does not fit its type."""

_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def cast(values: pl.Series, to: ColumnType) -> pl.Series:
    """Return ``values`` as the contract's type; null where a value does not fit.

    Parameters
    ----------
    values
        (N,) of any type.

    Raises
    ------
    DataError
        The whole column is of a type that never fits, for example dates for a boolean.
    """
    if values.dtype == pl.Null:
        return values.cast(DTYPES[to])
    if values.dtype.base_type() in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    return _CASTS[to](values)


def normalise(values: pl.Series) -> pl.Series:
    """Give *missing* one form: NaN and the empty string become null."""
    if values.dtype.is_float():
        return values.fill_nan(None) if values.is_nan().any() else values
    if values.dtype == pl.String:
        empty = values == ""
        return values.set(empty, None) if empty.any() else values
    return values


def _to_string(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        return values
    if values.dtype.is_integer():
        return values.cast(pl.String)
    raise _unfit(values, "string")


def _to_integer(values: pl.Series) -> pl.Series:
    dtype = values.dtype
    if dtype == pl.String:
        text = values.str.strip_chars()
        whole = text.cast(pl.Int64, strict=False)
        if whole.null_count() > values.null_count():
            whole = whole.zip_with(whole.is_not_null(), _whole(text.cast(pl.Float64, strict=False)))
    elif dtype.is_integer() or dtype == pl.Boolean:
        whole = values.cast(pl.Int64, strict=False)
    elif dtype.is_float() or dtype.is_decimal():
        whole = _whole(values.cast(pl.Float64))
    else:
        raise _unfit(values, "integer")
    return _only_exact(whole)


def _to_number(values: pl.Series) -> pl.Series:
    dtype = values.dtype
    if dtype == pl.Float64:
        number = values
    elif dtype == pl.String:
        number = values.str.strip_chars().cast(pl.Float64, strict=False)
    elif dtype in (pl.Int64, pl.UInt64, pl.Int128):
        return _only_exact(values).cast(pl.Float64)
    elif dtype.is_numeric() or dtype == pl.Boolean:
        number = values.cast(pl.Float64)
    else:
        raise _unfit(values, "number")
    return _only(number, number.is_infinite().not_())


def _to_boolean(values: pl.Series) -> pl.Series:
    dtype = values.dtype
    if dtype == pl.Boolean:
        return values
    if dtype.is_numeric():
        return _only(values, values.is_in([0, 1])).cast(pl.Boolean)
    if dtype == pl.String:
        text = values.str.strip_chars().str.to_lowercase()
        return text.replace_strict(_BOOLEANS, default=None, return_dtype=pl.Boolean)
    raise _unfit(values, "boolean")


def _to_date(values: pl.Series) -> pl.Series:
    dtype = values.dtype
    if dtype == pl.Date:
        return values
    if dtype == pl.String:
        text = values.str.strip_chars()
        # The parser alone would read 13-01-01 as the year 13.
        return _only(text, text.str.contains(r"^\d{4}-\d{2}-\d{2}$")).str.to_date("%Y-%m-%d", strict=False)
    if isinstance(dtype, pl.Datetime):
        return _only(values, values.dt.truncate("1d") == values).cast(pl.Date)
    raise _unfit(values, "date")


def _to_timestamp(values: pl.Series) -> pl.Series:
    dtype = values.dtype
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is None:
            values = values.dt.replace_time_zone("UTC")
        return values.cast(DTYPES["timestamp"])
    if dtype == pl.Date:
        return values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if dtype == pl.String:
        return _parse_timestamps(values.str.strip_chars())
    raise _unfit(values, "timestamp")


def _parse_timestamps(text: pl.Series) -> pl.Series:
    parsed = text.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", strict=False, time_unit="us").dt.replace_time_zone("UTC")
    if parsed.null_count() == text.null_count():
        return parsed
    one_form = (
        text.str.replace(r"^(\d{4}-\d{2}-\d{2})$", "${1}T00:00:00")
        .str.replace(r"^(\d{4}-\d{2}-\d{2})[ t]", "${1}T")
        .str.replace(r"^(.{10}T\d{2}:\d{2})($|[Zz+-])", "${1}:00${2}")
        .str.replace(r"[Zz]$|(T[\d:.]+)$", "${1}+00:00")
        .str.replace(r"(T.*[+-]\d{2})(\d{2})?$", "${1}:${2}")
        .str.replace(r":$", ":00")
    )
    return one_form.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", strict=False, time_unit="us", time_zone="UTC")


def _whole(numbers: pl.Series) -> pl.Series:
    """The numbers that are whole, as integers."""
    return _only(numbers, (numbers == numbers.floor()) & (numbers.abs() <= LARGEST_EXACT_INTEGER)).cast(pl.Int64)


def _only_exact(values: pl.Series) -> pl.Series:
    """``values`` up to 2**53, beyond which not every whole number has a float64; null for the others."""
    low, high = typing.cast("Any", values.min()), typing.cast("Any", values.max())
    # The extremes cost a fraction of a comparison of each value.
    if low is None or (low >= -LARGEST_EXACT_INTEGER and high <= LARGEST_EXACT_INTEGER):
        return values
    return values.set(~values.is_between(-LARGEST_EXACT_INTEGER, LARGEST_EXACT_INTEGER), None)


def _only(values: pl.Series, fits: pl.Series) -> pl.Series:
    """``values`` where they fit, else null; the same object where all do."""
    return values if fits.all() else values.set(~fits, None)


def _unfit(values: pl.Series, to: str) -> DataError:
    return DataError(
        f"column {values.name!r} has the type {values.dtype} in the source, which never fits {to!r}",
        hint="declare its type in `columns`, or convert it in the source",
    )


_CASTS: dict[ColumnType, Callable[[pl.Series], pl.Series]] = {
    "string": _to_string,
    "integer": _to_integer,
    "number": _to_number,
    "boolean": _to_boolean,
    "date": _to_date,
    "timestamp": _to_timestamp,
}
