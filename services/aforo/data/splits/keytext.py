"""Key columns as text, written as BigQuery's ``CAST(... AS STRING)`` writes them, and the fingerprint of a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from aforo.data.splits.farmhash import farmhash64
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
    return farmhash64(text)


TEXT = "\x1f text"
"""Name under which a split prepares the text that it hashes; no column of a contract is called so."""


def percent_of(text: pl.Expr) -> pl.Expr:
    """0-99, as ``ABS(MOD(FARM_FINGERPRINT(text), 100))`` gives it."""
    hashed = fingerprint(text)
    # |signed value| of the upper half is 2**64 - hashed, which is one more than uint64 holds.
    negative = ((pl.lit(2**64 - 1, dtype=pl.UInt64) - hashed) % 100 + 1) % 100
    return pl.when(hashed < 2**63).then(hashed % 100).otherwise(negative)


def part_of(percent: pl.Expr, shares: Sequence[int]) -> pl.Expr:
    """The part that a percentage falls into when the parts follow each other in these shares."""
    return pl.lit(pl.Series(np.repeat(np.arange(len(shares), dtype=np.uint8), shares))).gather(percent)
