"""Key columns as text, written as BigQuery's ``CAST(... AS STRING)`` writes them."""

from __future__ import annotations

import polars as pl
import polars_hash  # noqa: F401  registers `nchash`

from aforo.errors import DataError


def key_text(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return the column as text.

    Raises
    ------
    DataError
        The column has a type whose text is ambiguous, such as a fraction.
    """
    column = pl.col(name)
    if dtype == pl.String or dtype.is_integer() or dtype == pl.Boolean:
        return column.cast(pl.String)
    if dtype == pl.Date:
        return column.dt.strftime("%Y-%m-%d")
    if isinstance(dtype, pl.Datetime):
        return column.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%d %H:%M:%S%.f+00")
    raise DataError(
        f"column {name!r} is a {dtype}, which has no one text to fingerprint",
        hint="split by columns that are text, whole numbers, booleans, dates or timestamps",
    )


def fingerprint(text: pl.Expr) -> pl.Expr:
    """FarmHash64 of the text's UTF-8 bytes, unsigned: BigQuery's FARM_FINGERPRINT modulo 2**64."""
    return text.nchash.farmhash64().cast(pl.UInt64)  # type: ignore[attr-defined,no-any-return]
